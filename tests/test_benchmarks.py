"""GPU benchmarks: they run on any machine, and list the parts that were not measured."""

import json

from benchmarks import gpu


def test_the_gpu_benchmark_runs_on_a_cpu_and_lists_skipped_parts(tiny_as_shipped, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    options = ["--device", "cpu", "--precision", "fp32", "--json", str(out), "--no-large", "--batch-sizes", "1"]
    options += ["--matrix", "64", "--passes", "1", "--sizes", "0.25", "--views", "14"]
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu", *options])
    gpu.main()
    rows = json.loads(out.read_text())
    left = next(row["only with a GPU"] for row in rows if "only with a GPU" in row)
    assert {"cuda graph", "compiled", "pinned ahead", "nvJPEG"} == set(left)
    of_size = next(row for row in rows if "megapixels" in row)
    assert of_size["megapixels"] == 0.25 and all(of_size[what] > 0 for what in of_size)
    assert {"as it is", "copied", "channels last"} == {row["way"] for row in rows if "way" in row}
