"""Places to run a scan, by the name of `--runner`.

A place is one function, `findings(options, files, run)`, a generator of Findings: it calls `run.begin` with the
configuration of its scanners, before it takes the first of `files`, which are pairs of key and path; each Finding
carries the key of its file, and may come in any order. All else is in `loop`.
"""

RUNNERS = {
    "local": "hidascan.runners.local:findings",
    "ray": "hidascan.runners.ray:findings",
}
