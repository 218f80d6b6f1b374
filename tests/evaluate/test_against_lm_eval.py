"""lm-eval as a judge of multiple choice: it loads the exported model through transformers and scores the same
questions.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from groundup.device import Device
from groundup.evaluate.suites.choice import choices
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText
from groundup.model import weights
from tests.random_models import random_model

TASK = """
task: local
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


def questions(count: int) -> list[dict[str, object]]:
    random, words = (
        Random(3),
        ["the", "cat", "sat", "on", "mat,", "dog", "by", "(the)", "door;", "then", "3", "of", "them!"],
    )
    items: list[dict[str, object]] = []
    for _ in range(count):
        options = [" ".join(random.choices(words, k=random.randint(1, 6))) for _ in range(4)]
        items.append(
            {
                "question": " ".join(random.choices(words, k=random.randint(2, 12))),
                "choices": options,
                "answer": random.randrange(4),
            }
        )
    return items


def judge(folder: Path, *model: str) -> tuple[dict[str, float], list[dict]]:
    """What lm-eval makes of a model, named by arguments, on local.yaml in a folder: its metrics, and its samples in the
    order of the questions.
    """
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder / "home"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    arguments = [*model, "--tasks", "local", "--include_path", str(folder)]
    arguments += ["--device", "cpu", "--batch_size", "8", "--output_path", str(folder / "out"), "--log_samples"]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *arguments],
        env=os.environ | offline,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(next((folder / "out").rglob("results_*.json")).read_text())["results"]["local"]
    lines = next((folder / "out").rglob("samples_*.jsonl")).read_text().splitlines()
    return results, sorted(map(json.loads, lines), key=lambda sample: sample["doc_id"])


@pytest.mark.judge
@pytest.mark.slow
def test_accuracy_and_likelihoods_equal_those_of_lm_eval(tmp_path, tokenizer):
    pytest.importorskip("lm_eval")
    pytest.importorskip("accelerate")
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in questions(40)))
    (tmp_path / "local.yaml").write_text(TASK.replace("QUESTIONS", str(path)))
    weights.save(random_model(context=256), tmp_path / "model", tokenizer.im_end)
    tokenizer.save(tmp_path / "model")
    results, samples = judge(
        tmp_path, "--model", "hf", "--model_args", f"pretrained={tmp_path / 'model'},dtype=float32"
    )

    engine = Engine.load(tmp_path / "model", Device("cpu"), "fp32")
    found = choices(engine, path)[""]
    assert (found.raw.value, found.per_byte.value) == pytest.approx(
        (results["acc,none"], results["acc_norm,none"]), abs=1e-9
    )

    rows = []
    for item in questions(40):
        asked = tokenizer.encode(f"Question: {item['question']}\nAnswer:")
        rows += [ScoredText(asked + tokenizer.encode(f" {choice}"), len(asked)) for choice in item["choices"]]
    theirs = [float(response[0][0]) for sample in samples for response in sample["resps"]]
    # fp32, sums of up to 30 log-probabilities of size 1 to 10.
    assert [-value for value in engine.scorer.negative_log_likelihoods(rows)] == pytest.approx(
        theirs, rel=1e-5, abs=1e-3
    )
