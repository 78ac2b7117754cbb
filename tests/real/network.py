"""Partitions. Each node lives in a network namespace of its own. The test itself moves into a fresh namespace first and routes between
them, so nothing of it is seen outside, and all is gone when it ends, however it ends."""
import os
import shutil
import subprocess
import sys

from harness import Skip, run

INSIDE = "SYNOD_TEST_INSIDE"  # set in the environment of the test when it has moved into its namespace


class Network:
    """Namespaces, each a veth pair away from ours, which routes between them. Packets that are routed can be dropped by their
    source and destination; those to and from us, the clients, are not routed."""

    def __init__(self, env, nodes=3):
        if not os.environ.get(INSIDE):
            raise Skip("no network namespace can be made here (unshare --net was refused)")
        for tool in ("ip", "nft"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not installed")
        self.names = {}
        env.cleanup(self.remove)
        self._do("ip", "link", "set", "lo", "up")
        for i in range(1, nodes + 1):
            name = self.names[i] = f"synod{os.getpid()}-{i}"
            self._do("ip", "netns", "add", name)
            self._do("ip", "link", "add", f"synod{i}", "type", "veth", "peer", "name", "up0", "netns", name)
            self._do("ip", "address", "add", f"10.77.{i}.1/24", "dev", f"synod{i}")
            self._do("ip", "link", "set", f"synod{i}", "up")
            inside = ("ip", "-n", name)
            self._do(*inside, "link", "set", "lo", "up")
            self._do(*inside, "address", "add", f"10.77.{i}.2/24", "dev", "up0")
            self._do(*inside, "link", "set", "up0", "up")
            self._do(*inside, "route", "add", "default", "via", f"10.77.{i}.1")
        try:
            with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
                f.write("1")
        except OSError as error:
            raise Skip(f"routing cannot be switched on: {error}") from None
        self._do("nft", "add table ip synod; add chain ip synod cuts { type filter hook forward priority 0; policy accept; }")

    @staticmethod
    def _do(*command):
        done = run(command)
        if done.returncode != 0:
            raise Skip(f"{' '.join(command)}: {done.stderr.strip()[:200]}")

    @staticmethod
    def address(i):
        return f"10.77.{i}.2"

    def prefix(self, i):
        return ["ip", "netns", "exec", self.names[i]]

    def cut(self, pairs):
        """pairs: (from, to): packets that way are dropped from now on."""
        rules = "; ".join(f"add rule ip synod cuts ip saddr {self.address(a)} ip daddr {self.address(b)} drop" for a, b in pairs)
        run(["nft", rules], check=True)

    @staticmethod
    def heal():
        run(["nft", "flush chain ip synod cuts"], check=True)

    def remove(self):
        run(["nft", "delete table ip synod"])
        for i, name in self.names.items():
            run(["ip", "link", "delete", f"synod{i}"])
            run(["ip", "netns", "delete", name])


def move_into_a_namespace():
    """Runs this program again in network and mount namespaces of its own, if the system lets us; as root, or as a user who is root there."""
    if os.environ.get(INSIDE) or not shutil.which("unshare"):
        return
    for more in ([], ["--user", "--map-root-user"]):
        words = ["unshare", *more, "--net", "--mount"]
        # /run/netns is where `ip netns` keeps its names: ours are to be our own.
        if subprocess.run([*words, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False).returncode == 0:
            os.environ[INSIDE] = "1"
            shell = "mount -t tmpfs tmpfs /run && ip link set lo up; exec \"$@\""
            os.execvp(words[0], [*words, "sh", "-c", shell, "sh", sys.executable, *sys.argv])
