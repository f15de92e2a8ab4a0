"""Run a scan: on this machine or on a cluster; verify its report."""
