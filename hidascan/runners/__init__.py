"""Places to run a scan, by the name of `--runner`.

A place is one function, `findings(options, files, run)`, a generator of Findings: it calls `run.begin` with the
configuration of its scanners, before it takes the first of `files`, which are pairs of key and path; each Finding
carries the key of its file, and may come in any order. It may count views by `run.progress.on_batch`. A path may be an
`Unreadable`, a str with a reason, which text formats lose. A raised HidascanError ends the scan with one line. All else
is in `loop`.
"""

RUNNERS = {
    "local": "hidascan.runners.local:findings",
    "ray": "hidascan.runners.ray:findings",
}
