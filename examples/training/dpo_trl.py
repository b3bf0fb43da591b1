"""Train on pairs with TRL's DPO: the columns `chosen` and `rejected`. Needs `pip install trl peft` and a GPU."""

from datasets import load_dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

rows = load_dataset("json", data_files="pairs.jsonl", split="train").select_columns(["chosen", "rejected"])
trainer = DPOTrainer(
    model="Qwen/Qwen2.5-0.5B-Instruct",
    args=DPOConfig(output_dir="support-dpo", beta=0.1, per_device_train_batch_size=1),
    train_dataset=rows,
    peft_config=LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM"),
)
trainer.train()
