"""GPU benchmarks: they run on any machine, and list the parts that were not measured."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_gpu_benchmark_runs_on_a_cpu_and_lists_skipped_parts(tmp_path):
    out = tmp_path / "rows.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--json",
        str(out),
        "--no-large",
    ]
    command += ["--batch-sizes", "1", "--matrix", "64", "--passes", "1", "--sizes", "0.25", "--views", "14"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    rows = json.loads(out.read_text())
    left = next(row["only with a GPU"] for row in rows if "only with a GPU" in row)
    assert {"cuda graph", "compiled", "pinned ahead", "nvJPEG"} == set(left)
    of_size = next(row for row in rows if "megapixels" in row)
    assert of_size["megapixels"] == 0.25 and all(of_size[what] > 0 for what in of_size)
    assert {"as it is", "copied", "channels last"} == {row["way"] for row in rows if "way" in row}
