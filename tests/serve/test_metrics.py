"""Figures for Prometheus, read as Prometheus does."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundup.generate.request import OutputDelta
from groundup.serve.metrics import PATHS, Metrics, path_label
from groundup.serve.request_stats import RequestStats
from tests.serve.test_admission import BUSY, Door


def read(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each sample by name and values of its labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_requests_and_know_the_engines():
    door = Door()
    door.get("/v1/models")
    door.get("/v1/models/small")
    for number in range(50):
        door.get(f"/no/such/{number}")
    text = door.metrics.text().decode()
    assert 'groundup_requests_total{path="/v1/models",status="200"} 2.0' in text
    assert 'groundup_requests_total{path="other",status="200"} 50.0' in text
    assert 'groundup_engine_pages_used{model="small"} 40.0' in text
    assert 'groundup_engine_generated_tokens_total{model="small"} 7.0' in text
    assert "groundup_requests_under_way 0.0" in text


def test_seconds_between_tokens_are_counted_by_model():
    metrics = Metrics(list)
    record = RequestStats("small", first_token_seconds=0.02, token_gaps=[0.003, 0.003, 2.0])
    metrics.observe("/v1/completions", 200, 3.0, record)
    found = read(metrics)
    assert found["groundup_first_token_seconds_count", ("small",)] == 1
    assert found["groundup_first_token_seconds_sum", ("small",)] == pytest.approx(0.02)
    assert found["groundup_token_gap_seconds_count", ("small",)] == 3
    assert found["groundup_token_gap_seconds_bucket", ("0.005", "small")] == 2
    assert found["groundup_request_seconds_sum", ("/v1/completions",)] == pytest.approx(3.0)


def test_a_request_without_an_answer_has_no_first_token():
    metrics = Metrics(list)
    metrics.observe("/v1/completions", 400, 0.1, RequestStats("small"))
    assert not any(name.startswith("groundup_first_token_seconds_c") for name, _ in read(metrics))


def test_all_numbers_of_all_engines_are_there():
    found = read(Metrics(lambda: [("a", BUSY), ("b", BUSY)]))
    engines = {name: value for (name, labels), value in found.items() if labels == ("b",)}
    assert engines == {
        "groundup_engine_running": 2, "groundup_engine_waiting": 3, "groundup_engine_pages_total": 100,
        "groundup_engine_pages_used": 40,
        "groundup_engine_pages_cached": 10, "groundup_engine_prompt_tokens_total": 5,
        "groundup_engine_cached_tokens_total": 6,
        "groundup_engine_generated_tokens_total": 7, "groundup_engine_preemptions_total": 1,
        "groundup_engine_steps_total": 9,
        "groundup_engine_alive": 1,
    }  # fmt: skip


def test_two_servers_in_one_process_count_apart():
    one, two = Metrics(list), Metrics(list)
    one.observe("/health", 200, 0.1, RequestStats())
    assert read(one)["groundup_requests_total", ("/health", "200")] == 1
    assert ("groundup_requests_total", ("/health", "200")) not in read(two)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models/a/b", "/v1/models"), ("/v1/completions", "/v1/completions"), ("/v1/completionsx", "other"),
        ("/api/runs/x/report", "/api/runs"),
        ("/", "other"), ("", "other"), ("/v1", "other"), ("/metrics\n", "other"),
    ],
)  # fmt: skip
def test_labels_of_paths_are_few(path: str, expected: Any):
    assert path_label(path) == expected
    assert path_label(path) in {*PATHS, "other"}


def test_a_record_takes_the_times_of_each_answer_apart():
    record = RequestStats("small")
    for answer in (0, 1, 0, 1, 0):
        record.add(answer, OutputDelta("x", (1,)))
    assert len(record.token_gaps) == 3
    assert record.generated_tokens == 5
    assert record.first_token_seconds is not None


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_each_endpoint_is_counted_under_its_own_path(path):
    assert path_label(path) == path
    assert path_label(path + "x") == "other"
