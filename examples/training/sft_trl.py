"""Fine-tune with TRL on the column `messages`. Needs `pip install trl peft` and a GPU."""

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

rows = load_dataset("json", data_files="support.jsonl", split="train").select_columns(["messages"])
trainer = SFTTrainer(
    model="Qwen/Qwen2.5-0.5B-Instruct",
    args=SFTConfig(output_dir="support-sft", num_train_epochs=2, per_device_train_batch_size=2),
    train_dataset=rows,
    peft_config=LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM"),
)
trainer.train()
