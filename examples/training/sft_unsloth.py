"""Fine-tune with Unsloth on the column `messages`. Needs `pip install unsloth` and a GPU."""

from unsloth import FastLanguageModel  # first: it patches transformers and trl

# isort: split
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

model, tokenizer = FastLanguageModel.from_pretrained(
    "unsloth/Qwen2.5-0.5B-Instruct", max_seq_length=4096, load_in_4bit=True
)
model = FastLanguageModel.get_peft_model(model, r=16, lora_alpha=32)


def as_text(row):
    """Return a row's chat as the text that the model's own template makes of it."""
    return {"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)}


rows = load_dataset("json", data_files="support.jsonl", split="train")
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    args=SFTConfig(output_dir="support-unsloth", dataset_text_field="text", per_device_train_batch_size=2),
    train_dataset=rows.map(as_text, remove_columns=rows.column_names),
)
trainer.train()
