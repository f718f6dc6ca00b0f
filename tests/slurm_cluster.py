"""A real SLURM of several nodes on one machine, for tests: slurmctld, munged and one slurmd per node, all on loopback.

    python -m tests.slurm_cluster install               # Debian packages, given root and apt; says what it skips
    python -m tests.slurm_cluster run -- COMMAND ARG…   # COMMAND on a fresh cluster, taken down afterwards

There is no cgroup, and a database daemon only with `accounting`. Every daemon is a child of this process, ended by its
own id, and dies with it.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

PACKAGES = ("slurm-wlm", "munge")
DATABASE = ("slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server")  # for limits of users, which need accounts
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun", "scontrol", "scancel")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def missing(programs: Sequence[str] = PROGRAMS) -> list[str]:
    """The programs that a cluster (or its accounting) needs and this machine lacks."""
    return [name for name in programs if shutil.which(name, path=PATH) is None]


def install() -> str:
    """Install SLURM from Debian's packages; returns one line that says what was done, or what is skipped and why."""
    wanted = (*PACKAGES, *DATABASE)
    if not missing((*PROGRAMS, *ACCOUNTING)):
        return "slurm: already installed"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "slurm: NOT installed (needs root and apt-get); the tests on a real cluster are skipped"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *wanted]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode and command[1] == "install":
            return f"slurm: NOT installed ({done.stderr.strip()[-200:]}); the tests on a real cluster are skipped"
    return "slurm: installed" if not missing() else f"slurm: NOT installed, still missing {', '.join(missing())}"


@dataclass(kw_only=True)
class Cluster:
    """`nodes` nodes named 127.0.0.1, 127.0.0.2, … (names that resolve without touching /etc/hosts) in two partitions:
    `main`, and `high`, whose jobs preempt those of `main` (requeued, after USR2 and a grace of `grace` seconds)."""

    root: Path
    nodes: int = 3
    cpus: int = 2  # announced by each node, whatever the machine has
    memory: int = 6000  # MB, announced by each node
    max_array: int = 1001
    grace: int = 30
    max_jobs: int = 10_000  # MaxJobCount
    accounting: bool = False  # slurmdbd over a MariaDB of its own: accounts, QOS and their limits
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def names(self) -> list[str]:
        """The nodes' names."""
        return [f"127.0.0.{i + 1}" for i in range(self.nodes)]

    @property
    def env(self) -> dict[str, str]:
        """The environment in which SLURM's commands speak to this cluster."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
        return kept | {"SLURM_CONF": str(self.root / "etc/slurm.conf"), "PATH": PATH}

    def run(self, *command: str, check: bool = True, timeout: float = 60) -> str:
        """A command's output, run against this cluster."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} → {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Write the configuration, start every daemon, and wait until every node is idle."""
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # so that being ended takes the cluster down, too
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        for folder in ("etc", "log", "run", "state", "munge"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._configure()
        self._daemon(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--socket={self.root}/run/munge.sock",
            f"--key-file={key}",
            f"--pid-file={self.root}/run/munged.pid",
            f"--seed-file={self.root}/munge/seed",
            "--num-threads=2",
            f"--log-file={self.root}/munge/log",
        )
        self._until(lambda: (self.root / "run/munge.sock").exists(), "munged opens its socket")
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        for name in self.names:
            self.start_node(name, wait=False)
        self._until(self.idle, "all nodes are idle")

    def stop(self) -> None:
        """End every daemon and every process of every job."""
        for name in [n for n in self.daemons if n != "munged"][::-1]:
            self._end(name, signal.SIGKILL)
        self._sweep()
        self._end("munged", signal.SIGTERM)

    def idle(self) -> bool:
        """Whether every node is registered and free."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N", check=False).split()
        return len(set(lines)) == self.nodes

    # -- faults ----------------------------------------------------------------------------------------------------

    def stop_controller(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End slurmctld: by default as a crash would, before it saves its state."""
        self._end("slurmctld", how)

    def start_controller(self, wait: bool = True) -> None:
        """Start slurmctld (again) from its saved state."""
        self._daemon("slurmctld", "slurmctld", "-D")
        if wait:
            self._until(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld answers")

    def crash_node(self, name: str) -> None:
        """Power off a node: its slurmd and its jobs' processes die, and the controller learns that it is down."""
        self._end(name, signal.SIGKILL)
        self._sweep(node=name)
        self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=crash")

    def lose_node(self, name: str) -> None:
        """Cut a node off: its slurmd is gone and the controller calls it down, but its jobs' processes live on."""
        self._end(name, signal.SIGKILL)
        self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=lost")

    def start_node(self, name: str, wait: bool = True) -> None:
        """Start a node's slurmd (again)."""
        (self.root / f"spool.{name}").mkdir(exist_ok=True)
        self._daemon(name, "slurmd", "-D", "-N", name)
        if wait:
            self._until(
                lambda: name in self.run("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%N"), f"{name} is up"
            )

    # -- inside ----------------------------------------------------------------------------------------------------

    def _start_accounting(self) -> None:
        root, user = self.root, getpass.getuser()
        data, socket_path = root / "maria", root / "run/maria.sock"
        common = ("--no-defaults", f"--user={user}", f"--datadir={data}", "--innodb-log-file-size=16M")
        data.mkdir()
        access = ("--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}")
        self.run("mariadb-install-db", *common, *access, "--skip-test-db", "--skip-name-resolve")
        files = (f"--socket={socket_path}", f"--pid-file={root}/run/maria.pid")
        memory = ("--innodb-buffer-pool-size=32M", "--innodb-lock-wait-timeout=900")
        self._daemon("mariadbd", "mariadbd", *common, *files, *memory, "--skip-networking")
        self._until(socket_path.exists, "mariadbd opens its socket")
        self._daemon(
            "slurmdbd", "slurmdbd", "-D", SLURM_CONF=f"{root}/etc/slurmdbd.conf", MYSQL_UNIX_PORT=str(socket_path)
        )
        self._until(lambda: "Cluster" in self.run("sacctmgr", "list", "cluster", check=False), "slurmdbd answers")
        self.run("sacctmgr", "-i", "add", "cluster", "test")
        self.run("sacctmgr", "-i", "add", "account", "lab")
        self.run("sacctmgr", "-i", "add", "user", user, "account=lab")

    def _daemon(self, name: str, *command: str, **env: str) -> None:
        with open(self.root / f"log/{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )

    def _end(self, name: str, how: signal.Signals) -> None:
        process = self.daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _sweep(self, node: str | None = None) -> None:
        """Kill what jobs left: every process whose environment names this cluster, or those of the jobs on `node`."""
        marks = {f"SLURM_CONF={self.env['SLURM_CONF']}".encode()}
        marks |= {f"SLURMD_NODENAME={node}".encode()} if node else set()
        spared = {os.getpid(), *(daemon.pid for daemon in self.daemons.values())}
        tasks: set[int] = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in spared:
                if marks <= set(_read(entry / "environ").split(b"\0")):
                    tasks.add(int(entry.name))
        steps = {step for pid in tasks for step in _step_daemon(pid)}
        for pid in (*steps, *(tasks - steps)):  # the step's daemon first: a machine without power reports nothing
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _until(self, condition: object, what: str, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            if time.monotonic() > end:
                logs = "\n".join(
                    _read(p).decode(errors="replace")[-800:] for p in sorted((self.root / "log").iterdir())
                )
                raise RuntimeError(f"after {seconds} s it is not so that {what}\n{logs}")
            time.sleep(0.05)

    def _accounting(self, port: int) -> list[str]:
        if not self.accounting:
            return ["AccountingStorageType=accounting_storage/none"]
        return [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={port}",
            f"AccountingStoragePass={self.root}/run/munge.sock",
            "AccountingStorageEnforce=associations,limits,qos",
        ]

    def _configure(self) -> None:
        root, host, user = self.root, socket.gethostname().split(".")[0], getpass.getuser()
        ports = _free_ports(self.nodes + 2)
        lines = [
            "ClusterName=test",
            # ids never start at 1 again: a job of an earlier cluster must not be taken for one of this
            f"FirstJobId={int(time.time()) % 50_000_000 + 1}",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            "CredType=cred/munge",
            # a requeued job waits as long as its credential lives; 5 s is the least that SLURM takes
            f"AuthInfo=socket={root}/run/munge.sock,cred_expire=5",
            "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",  # bind to 127.0.0.1 only
            f"StateSaveLocation={root}/state",
            f"SlurmdSpoolDir={root}/spool.%n",
            f"SlurmctldPidFile={root}/run/slurmctld.pid",
            f"SlurmdPidFile={root}/run/slurmd.%n.pid",
            f"SlurmctldLogFile={root}/log/slurmctld.log",
            f"SlurmdLogFile={root}/log/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "MpiDefault=none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU_Memory",
            "DefMemPerCPU=256",
            "SlurmdParameters=config_overrides",  # nodes are as large as announced here
            "ReturnToService=2",
            "SlurmdTimeout=20",
            "SlurmctldTimeout=10",
            "MessageTimeout=5",
            "KillWait=3",
            "MinJobAge=600",
            "InactiveLimit=0",
            "Waittime=0",
            "JobRequeue=1",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=200000,batch_sched_delay=0",
            "PriorityType=priority/basic",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "SlurmctldParameters=preempt_send_user_signal",
            f"MaxArraySize={self.max_array}",
            f"MaxJobCount={self.max_jobs}",
            *self._accounting(ports[1]),
            "JobCompType=jobcomp/none",
            *(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} "
                f"RealMemory={self.memory} State=UNKNOWN"
                for name, port in zip(self.names, ports[2:], strict=True)
            ),
            f"PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10 "
            f"GraceTime={self.grace} OverSubscribe=NO",
            "PartitionName=high Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=100 PreemptMode=OFF",
        ]
        (root / "etc/slurm.conf").write_text("\n".join(lines) + "\n")
        lines = [
            "AuthType=auth/munge",
            f"AuthInfo=socket={root}/run/munge.sock",
            f"DbdHost={host}",
            "DbdAddr=127.0.0.1",
            f"DbdPort={ports[1]}",
            f"SlurmUser={user}",
            f"PidFile={root}/run/slurmdbd.pid",
            f"LogFile={root}/log/slurmdbd.log",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            f"StorageUser={user}",
            "StorageLoc=accounting",
        ]
        (root / "etc/slurmdbd.conf").touch(mode=0o600)
        (root / "etc/slurmdbd.conf").write_text("\n".join(lines) + "\n")
        (root / "etc/cgroup.conf").write_text("CgroupAutomount=no\n")


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: an interrupted test run leaves no daemon


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _step_daemon(pid: int) -> set[int]:
    """The slurmstepd above a job's process."""
    while pid > 1:
        stat = _read(Path(f"/proc/{pid}/stat")).decode(errors="replace")
        if not stat:
            break
        if "(slurmstepd" in stat:
            return {pid}
        pid = int(stat.rsplit(")", 1)[1].split()[1])
    return set()


def main(argv: list[str]) -> int:
    """Command line; see the module's docstring."""
    if argv[:1] == ["install"]:
        print(install())
        return 0
    if argv[:2] == ["run", "--"] and argv[2:]:
        if missing():
            print(
                f"slurm: not installed (missing {', '.join(missing())}): python -m tests.slurm_cluster install",
                file=sys.stderr,
            )
            return 3
        with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(root=Path(folder)) as cluster:
            return subprocess.run(argv[2:], env=cluster.env).returncode
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
