"""What a job learns from SLURM on its node, and asks of it."""

from __future__ import annotations

import os
import subprocess
import time

ANSWER_S = 20.0  # that squeue gets to answer: a job that is told to stop may have half a minute
REQUEUE_S = 600.0  # for which a requeue is tried again


def process_group() -> None:
    """The environment that torch.distributed starts from, out of SLURM's, and no more threads than CPUs were given."""
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK") or "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tasks = int(os.environ.get("SLURM_NTASKS") or 1)
    if tasks == 1:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        return
    from submitit import JobEnvironment

    job = JobEnvironment()
    number, restarts = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    os.environ |= {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(tasks // job.num_nodes),
        "MASTER_ADDR": job.hostnames[0],
        # two jobs on one node must not meet, and a requeued one must not meet its former self
        "MASTER_PORT": str(20000 + (7 * number + restarts) % 12000),
    }


def say(text: str) -> None:
    """A line in the job's log."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def where() -> str:
    """For the log: which job, element, restart, node and process this is."""
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "RANK", "WORLD_SIZE")
    return " ".join(f"{name.removeprefix('SLURM_').lower()}={os.environ[name]}" for name in names if name in os.environ)


def scheduler_state() -> str:
    """The scheduler's word for this job; empty where it gives none."""
    command = ["squeue", "-h", "-o", "%T", "-j", os.environ["SLURM_JOB_ID"]]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S).stdout.strip()
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""


def requeue() -> None:
    """Ask for this job to be queued again, patiently: the controller may be the very thing that is restarting."""
    end, pause = time.monotonic() + REQUEUE_S, 2.0
    while True:
        try:
            done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        except FileNotFoundError:
            say("no scontrol on this node: not queued again; submit again to go on from the checkpoint")
            return
        if done.returncode == 0:
            say("queued again")
            return
        say(f"scontrol requeue: {done.stderr.strip() or done.stdout.strip()}")
        if time.monotonic() > end:
            return
        time.sleep(pause)
        pause = min(2 * pause, 30.0)
