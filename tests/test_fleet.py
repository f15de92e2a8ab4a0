"""A scan on a real Ray cluster of two CPUs: the rows of a local scan, each once, even if workers are killed."""

import csv
import functools
import http.server
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pyarrow.parquet
import pytest
import yaml
from ray.cluster_utils import Cluster

from hidascan import cli
from hidascan.errors import CheckpointError
from hidascan.finding import Finding
from hidascan.image.filesystems import fetch, list_uri
from hidascan.image.folders import Survey
from hidascan.image.sources import Selection, Unreadable
from hidascan.options import ScanOptions
from hidascan.report.shards import Shards, ShardWriter, read_shard, shards_of
from hidascan.request import InputFiles
from hidascan.runners.ray import Allocation, ScanActor, allocate, blocks, decode
from hidascan.scanner import Scanner
from tests.conftest import ctrl_c_at_row, save_picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fleet") / "in"
    for number in range(12):
        name = f"{number:02d}.{'jpg' if number % 2 else 'png'}"
        save_picture(folder / "sub" / name, 60 + 40 * number, 250, seed=number)
    (folder / "broken.png").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A hundred tiny files, more than one task decodes."""
    folder = tmp_path_factory.mktemp("fleet") / "many"
    for number in range(20):
        save_picture(folder / f"{number:04d}.png", 40, 50, seed=number)
    for number in range(20, 100):
        shutil.copy(folder / f"{number % 20:04d}.png", folder / f"{number:04d}.png")
    return folder


def rows_of(*files: Path) -> tuple[list[dict], list[float]]:
    """Rows of JSON lines in order of their paths, and their numbers, which a network elsewhere may round differently."""
    rows, numbers = [json.loads(line) for file in files for line in file.open()], []
    kept = [{name: row[name] for name in row if name not in ("key", "seconds")} for row in rows]
    text = json.dumps(sorted(kept, key=lambda row: row["path"]))
    return json.loads(text, parse_float=lambda number: numbers.append(float(number))), numbers


def all_rows(folder: Path) -> list[dict]:
    return [row for shard in shards_of(folder) for row in read_shard(shard)]


def test_an_interrupted_scan_is_resumed_to_the_rows_of_a_scan_on_this_machine(
    hidascan, cluster, pictures, many, tmp_path
):
    given, out = (pictures, pictures / "missing.jpg", many, "--precision", "fp32"), tmp_path / "out"
    here = hidascan(*given, "--jsonl", tmp_path / "here.jsonl", "-q")
    options = (*given, "--jsonl", out, "--runner", "ray", "--ray-address", cluster)
    with ctrl_c_at_row(8):
        first = hidascan(*options, "--shard-rows", 3)
    before = {path: path.read_bytes() for path in shards_of(out)}
    assert first.code == 130 and first.err.endswith(
        "hidascan: interrupted; any report already started contains the results so far\n"
    )
    assert len(all_rows(out)) == 7 and len(before) == 3 and not (out / "manifest.json").exists()
    assert "already contains shards" in hidascan(*options).err

    second = hidascan(*options, "--resume")
    assert second.code == here.code and {path: path.read_bytes() for path in before} == before
    assert second.out.startswith("114 files: ") and second.out.count("\n") == 1
    complaints = [*first.err.splitlines()[:-1], *second.err.splitlines()]
    assert sorted(complaints) == sorted(here.err.splitlines())  # Ray itself is silent
    (found, numbers), (wanted, others) = rows_of(*shards_of(out)), rows_of(tmp_path / "here.jsonl")
    assert found == wanted and numbers == pytest.approx(others, abs=1e-5)
    keys = {row["key"]: row["path"] for row in all_rows(out)}
    in_order = [json.loads(line)["path"] for line in (tmp_path / "here.jsonl").open()]
    assert [keys[number] for number in range(114)] == in_order and len(all_rows(out)) == 114
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"] == 114 and sum(manifest["verdicts"].values()) == 112
    assert manifest["errors"] == {"this is plain text, not an image": 1, "no such file or directory": 1}
    assert manifest["scan"]["weights"] == found[0]["scan"]["weights"]
    assert "is a finished scan" in hidascan(*options, "--resume").err


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web(pictures):
    """A web server on this machine that serves the pictures."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=pictures)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["manifest.json", ".started.json"])
@pytest.mark.parametrize("text", ["mine", "{}", "[]"])
def test_foreign_files_in_a_folder_of_shards_are_kept(hidascan, pictures, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    ran = hidascan(pictures, "--csv", tmp_path, "--runner", "ray")
    assert ran.code == 2 and f"{name} exists and was not written by hidascan" in ran.err
    assert [*tmp_path.iterdir()] == [tmp_path / name] and (tmp_path / name).read_text() == text


def workers(title: str, address: str) -> list[int]:
    """Processes of our cluster that Ray has given a title."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or title not in (folder / "cmdline").read_text():
                continue
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if address in Path("/proc", parent, "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill_one(title: str, address: str, running: subprocess.Popen) -> None:
    limit = time.monotonic() + 60
    while not (found := workers(title, address)):
        assert running.poll() is None and time.monotonic() < limit, running.communicate()
        time.sleep(0.02)
    os.kill(found[0], signal.SIGKILL)


@dataclass(frozen=True)
class Killed:
    """A scan whose workers were killed."""

    inputs: list[str]
    code: int
    out: str
    err: str
    rows: list[dict]
    shards: list[Path]


SCRIPT = (
    "import sys; from hidascan import cli; code = cli.run(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
)


@pytest.fixture(scope="module")
def killed(cluster, pictures, many, web, tiny_weights, tmp_path_factory) -> Killed:
    """A scan of a table of files and addresses, of which a decoder and a network are killed."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("finds workers in /proc")
    folder = tmp_path_factory.mktemp("killed")
    single = [f"file://{pictures}/sub/03.jpg", f"{web}/sub/03.jpg", f"{web}/none.jpg", "ftp://127.0.0.1:1/a.png"]
    names = [f"file://{many}", *single]
    pyarrow.parquet.write_table(pyarrow.table({"n": range(5), "where": names}), folder / "images.parquet")
    options = ["--files-from", folder / "images.parquet", "--column", "where", "--weights", tiny_weights]
    options += ["--parquet", folder / "out", "--shard-rows", 52, "--precision", "fp32", "--runner", "ray"]
    command = [sys.executable, "-c", SCRIPT, *options, "--ray-address", cluster]
    running = subprocess.Popen(map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kill_one("ray::MapBatches(decode)", cluster, running)
    kill_one("ray::MapWorker(MapBatches(ScanActor)).submit", cluster, running)
    assert running.poll() is None
    out, err = running.communicate(timeout=500)  # a hang is meant, not a busy machine
    shards = shards_of(folder / "out")
    rows = [row for shard in shards for row in pyarrow.parquet.read_table(shard).to_pylist()]
    inputs = [*(f"file://{path}" for path in sorted(many.iterdir())), *single]
    return Killed(inputs, running.returncode, out, err, rows, shards)


def test_each_file_has_one_row_although_workers_are_killed(killed):
    assert killed.code in (1, 3) and killed.out.startswith("104 files"), killed.err
    rows = sorted(killed.rows, key=lambda row: row["key"])
    assert [row["key"] for row in rows] == [*range(104)] and [row["path"] for row in rows] == killed.inputs
    assert len(killed.shards) == 2


def test_the_process_that_starts_the_scan_loads_no_network(killed):
    assert killed.out.splitlines()[-1] == "False"


def test_a_table_of_files_and_addresses_gives_parquet(killed):
    found = {row["path"]: row for row in killed.rows}
    *_, local, fetched, missing, nowhere = (found[name] for name in killed.inputs)
    assert missing["error"] == "no such file" and "download failed" in nowhere["error"]
    assert local["score"] == pytest.approx(fetched["score"], abs=1e-6) and local["width"] == fetched["width"] == 250
    hashes = [json.loads(row["record"])["file"]["sha256"] for row in (local, fetched)]
    assert hashes[0] == hashes[1]


def test_a_missing_cluster_and_wrong_outputs_are_reported_in_one_line(hidascan, pictures, tmp_path):
    nowhere = hidascan(pictures, "--csv", tmp_path / "out", "--runner", "ray", "--ray-address", "127.0.0.1:1")
    assert nowhere.code == 2 and nowhere.err == (
        "hidascan: --ray-address 127.0.0.1:1: no cluster at this address (connection refused)\n"
    )
    folder = ("--csv", tmp_path / "out")
    for wrong in ((), ("--csv", "-"), ("--html", "a.html"), (*folder, "--heatmap"), (*folder, "--format", "%p")):
        ran = hidascan(pictures, "--runner", "ray", *wrong)
        assert ran.code == 2 and "needs exactly one of" in ran.err
    for wrong in (("--ray-address", "auto"), ("--actors", 2)):
        assert "need --runner ray" in hidascan(pictures, *wrong).err


def test_weights_that_do_not_exist_are_reported_in_one_line(hidascan, cluster, pictures, tmp_path):
    options = ("--csv", tmp_path / "out", "--runner", "ray", "--ray-address", cluster)
    ran = hidascan(pictures, *options, "--weights", tmp_path / "none.safetensors")
    assert ran.code == 2 and ran.err.endswith("none.safetensors: no such weights\n") and ran.err.count("\n") == 1


def test_an_actor_refuses_other_weights(tiny_weights):
    with pytest.raises(CheckpointError, match="different weights on"):
        ScanActor(ScanOptions(str(tiny_weights)), "0" * 64, 1)


@pytest.mark.parametrize(
    ("machines", "device", "shares"),
    [
        ([{"CPU": 2}], "auto", Allocation(1, 0, 1, 2, 0.5)),
        ([{"CPU": 1}], "auto", Allocation(1, 0, 0.5, 1, 0.25)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 64}], "auto", Allocation(4, 1, 1, 1, 1)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 64}], "cpu", Allocation(2, 0, 15, 16, 0.5)),
    ],
)
def test_the_resources_of_each_machine_are_allocated(machines, device, shares):
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    gone = {"Alive": False, "Resources": {"CPU": 1, "GPU": 8}}
    assert allocate([*nodes, gone], device) == shares


def test_remote_folders_are_searched_like_local_ones(pictures):
    (pictures / "notes.txt").write_text("no picture")
    every = list(list_uri(f"file://{pictures}", Selection(), Survey()))
    assert every == [f"file://{pictures}/broken.png", *(f"file://{p}" for p in sorted((pictures / "sub").iterdir()))]
    assert list(list_uri(f"file://{pictures}", Selection(recurse=False), Survey())) == every[:1]
    assert list(list_uri(f"file://{pictures}", Selection(exclude=("sub",)), Survey())) == every[:1]
    assert list(list_uri(f"file://{pictures}/none.png", Selection(), Survey())) == [f"file://{pictures}/none.png"]


def test_names_in_a_remote_folder_are_quoted(tmp_path):
    names = ["x y.jpg", "\u00fc.jpg", "100%.jpg", "p%20q.jpg", "h#1.jpg", "br[1].jpg", "why?.jpg", "Ж" * 40 + ".jpg"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    uris = list(list_uri(f"file://{tmp_path}", Selection(), Survey()))
    (tmp_path / "copies").mkdir()
    assert sorted(fetch(uri, tmp_path / "copies").read_bytes().decode() for uri in uris) == sorted(names)


def test_overlapping_folders_give_each_file_once(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a b.jpg").write_bytes(b"1")
    inputs = InputFiles(paths=(f"file://{tmp_path}/", f"file://{tmp_path}/sub/"), uris=True)
    assert len(list(inputs.files(Survey()))) == 1


def test_an_address_that_cannot_be_reached_costs_one_row(tmp_path):
    (found,) = list_uri("nowhere://bucket/folder", Selection(), Survey())
    assert found == "nowhere://bucket/folder" and "nowhere" in found.reason


def test_remote_folders_without_images_are_reported(tmp_path):
    for name in ("in/a.dng", "in/__MACOSX/b.jpg", "in/._c.jpg", "out/d.txt", "out/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    survey = Survey()
    assert list(list_uri(f"file://{tmp_path}/in", Selection(), survey)) == []
    assert list(list_uri(f"file://{tmp_path}/out", Selection(exclude=("e.*",)), survey)) == []
    assert list(survey.lines()) == [
        f"no images found in file://{tmp_path}/in; 1 file of other types skipped (.dng 1); "
        "2 system files skipped (._*, __MACOSX)",
        f"no images found in file://{tmp_path}/out; 1 file of other types skipped (.txt 1); 1 excluded by --exclude",
    ]


def test_unreadable_paths_keep_their_reason_in_a_cluster(tiny_weights):
    preparer = Scanner(ScanOptions(str(tiny_weights))).preparer
    (block,) = blocks(enumerate([Unreadable("folder", "cannot read folder: permission denied"), "/none.png"]))
    jobs = [pickle.loads(table["job"][0].as_py()) for table in decode(block, preparer, "/")]
    assert [(job.finding.path, job.finding.error) for job in jobs] == [
        ("folder", "cannot read folder: permission denied"),
        ("/none.png", "no such file or directory"),
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_shards_hold_any_name(tmp_path, form):
    names = ["=1+1.png", 'a\nb,"c".png', os.fsdecode(b"\xff.png")]
    writer = ShardWriter(tmp_path, form, 2)
    for key, name in enumerate(names):
        writer.add({"key": key, **Finding(name, "error", error="no").record(), "scan": {}})
    assert len(shards_of(tmp_path)) == 1
    writer.flush()
    assert [(row["key"], row["path"]) for row in all_rows(tmp_path)] == list(enumerate(names))


def test_tables_of_paths_are_read_here_too(hidascan, tmp_path):
    picture = save_picture(tmp_path / "a.png")
    table = tmp_path / "list.csv"
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["id", "path"], ["1", str(picture)], ["2", ""]])
    assert hidascan("--files-from", table).out.startswith(f"{picture}\t")
    wrong = hidascan("--files-from", table, "--column", "file")
    assert wrong.code == 2 and "no column 'file' (--column); columns: id, path" in wrong.err


def known(required: tuple[str, ...], **properties: object) -> dict[str, object]:
    """JSON Schema of an object with no properties but these."""
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


ANYTHING, TEXT, COUNT = {"type": "object"}, {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
CONTAINER = known(
    ("name", "image", "resources"),
    **{"name": TEXT, "image": TEXT, "volumeMounts": {"type": "array"}, "resources": known(("limits",), limits=TEXTS)},
)
POD = known(
    ("spec",), spec=known(("containers",), containers={"type": "array", "items": CONTAINER}, volumes={"type": "array"})
)
GROUP = {"rayStartParams": TEXTS, "template": POD}
WORKERS = known(
    ("groupName", "rayStartParams", "template", "maxReplicas", "minReplicas"),
    **{"groupName": TEXT, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT, **GROUP},
)
CLUSTER = known(
    ("headGroupSpec",),
    rayVersion=TEXT,
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=known(("rayStartParams", "template"), **GROUP),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
RAY_JOB = known(  # the fields of KubeRay's RayJob, ray.io/v1, that our page uses
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=ANYTHING,
    spec=known(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        rayClusterSpec=CLUSTER,
    ),
)


def test_the_manifest_for_kubernetes_fits_its_schema_and_our_options():
    page = (Path(__file__).parent.parent / "docs" / "fleet.md").read_text()
    job = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    jsonschema.validate(job, RAY_JOB)
    script = shlex.split(job["spec"]["entrypoint"])[2]
    command = shlex.split(script.partition(";")[0])
    request = cli.parse(command[1:])
    assert (request.runner, request.ray_address, request.actors) == ("ray", "auto", None)
    assert request.reports.shards == Shards(folder="/out/2026", form="parquet")
