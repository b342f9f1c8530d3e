# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The base of the benchmarks: two network namespaces, NAME-s for servers and NAME-c for clients,
joined by a veth pair and isolated from everything else; their processes; and the CPU time of
processes, machine and sluice's programs."""

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
BPF_ENABLE_STATS = 32


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def ticks_us(ticks):
    return ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")


def machine_ticks():
    """Ticks of all CPUs since boot: busy ones (without idle and I/O wait), all, and
    those that the hypervisor stole."""
    with open("/proc/stat", encoding="ascii") as stat:
        t = [int(x) for x in stat.readline().split()[1:9]]
    return sum(t) - t[3] - t[4], sum(t), t[7]


def process_us(pids):
    """User and system time of processes, in us."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks_us(ticks)


def family(pid):
    """A process and its descendants."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = f.read().split()
    except OSError:
        children = []
    return [pid, *[p for child in children for p in family(int(child))]]


def count_run_time():
    """Makes the kernel count the run time of programs until the returned descriptor is closed.
    None if the kernel cannot."""
    attribute = struct.pack("I", 0)
    number = SYS_BPF.get(os.uname().machine)
    fd = -1
    if number:
        fd = ctypes.CDLL(None).syscall(number, BPF_ENABLE_STATS, attribute, len(attribute))
    return fd if fd >= 0 else None


# One limit for all requests in flight.
NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err crit;
events {{ worker_connections 8192; }}
http {{ access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
uwsgi_temp_path {dir}; scgi_temp_path {dir}; client_max_body_size 16m; client_body_buffer_size 1m;
limit_conn_zone $server_name zone=all:1m; limit_conn_status 429; limit_conn_log_level info;
upstream model {{ server {server}; keepalive 64; }}
server {{ listen {listen}; server_name all; location / {{ limit_conn all {limit};
proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_buffering off; proxy_read_timeout 3600s; }} }} }}
"""


class Looks:
    """Calls look() five times a second, until the end; keeps what it returns."""

    def __init__(self, look):
        self.look, self.stop, self.seen = look, threading.Event(), []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.2):
            self.seen.append(self.look())

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.seen


class Processes:
    """Child processes. `directory` is for their logs and sockets."""

    def __init__(self, directory):
        self.dir, self.children = directory, []

    def log(self, name):
        with open(f"{self.dir}/{name}.log", encoding="utf-8") as f:
            return f.read()

    def start(self, name, ready, *command):
        """Starts a command and returns when ready() is true."""
        with open(f"{self.dir}/{name}.log", "w", encoding="utf-8") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children.append(child)
        for _ in range(1200):  # a loaded machine takes its time to verify programs
            if ready():
                return child
            if child.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"{name} does not start: {self.log(name)[-800:].strip()}")

    def stop(self, child):
        self.children.remove(child)
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def start_nginx(self, server, listen, limit, ready):
        """nginx with limit_conn before a server ("ADDR:PORT"); listen: a port or "ADDR:PORT"."""
        with open(f"{self.dir}/nginx.conf", "w", encoding="ascii") as conf:
            conf.write(NGINX.format(dir=self.dir, server=server, listen=listen, limit=limit))
        return self.start("nginx", ready, "nginx", "-e", f"{self.dir}/nginx.err", "-c",
                          f"{self.dir}/nginx.conf")

    def sluiced_is_ready(self):
        return self.log("sluiced").startswith("ready") or "\nready" in self.log("sluiced")


class Network(Processes):
    """The namespaces NAME-s (address NET.1) and NAME-c (NET.2)."""

    def __init__(self, directory, name, net):
        super().__init__(directory)
        self.server, self.client, self.device = f"{name}-s", f"{name}-c", "b0"
        self.net, self.address = net, f"{net}.1"
        self.pins = f"/sys/fs/bpf/{name}"
        self.control = f"{directory}/control.sock"

    def sweep(self):
        """Ends our processes and those of a killed run in our namespaces, then removes the
        namespaces."""
        while self.children:
            self.stop(self.children[-1])
        for namespace in (self.server, self.client):
            if not os.path.exists(f"/run/netns/{namespace}"):
                continue
            for pid in run("ip", "netns", "pids", namespace, check=False).stdout.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            run("ip", "netns", "del", namespace, check=False)
        if os.path.isdir(self.pins):
            run(f"{BUILD}/sluicectl", "--control", f"{self.dir}/none", "detach", "--pin-dir",
                self.pins, check=False)

    def set_up(self):
        for namespace in (self.server, self.client):
            run("ip", "netns", "add", namespace)
            run(*self.on(namespace, "ip", "link", "set", "lo", "up"))
        run("ip", "link", "add", self.device, "netns", self.server, "type", "veth", "peer", "name",
            self.device, "netns", self.client)
        for namespace, address in ((self.server, self.address), (self.client, f"{self.net}.2")):
            run(*self.on(namespace, "ip", "addr", "add", f"{address}/24", "dev", self.device))
            run(*self.on(namespace, "ip", "link", "set", self.device, "up"))

    def on(self, namespace, *command):
        return ["nsenter", f"--net=/run/netns/{namespace}", *command]

    def run_client(self, *command, check=True):
        """Runs a command in the clients' namespace to its end."""
        return run(*self.on(self.client, *command), check=check)

    def start(self, name, ready, *command):
        """Starts a command in the servers' namespace and returns when ready() is true."""
        return super().start(name, ready, *self.on(self.server, *command))

    def listening(self, port):
        probe = self.run_client("bash", "-c", f"exec 3<>/dev/tcp/{self.address}/{port}",
                                check=False)
        return probe.returncode == 0

    def start_sluice(self, listen, *arguments):
        listen = ["--listen", listen] if listen else []
        return self.start("sluiced", self.sluiced_is_ready, f"{BUILD}/sluiced", "--interface",
                          self.device, *listen, *arguments, "--pin-dir", self.pins,
                          "--control", self.control, "--metrics", "off")

    def sluicectl(self, *command, check=True):
        return run(f"{BUILD}/sluicectl", "--control", self.control, *command, check=check).stdout

    def stop_sluice(self, child):
        """detach ends the daemon when the last tombstone has drained."""
        self.sluicectl("detach", check=False)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            pass
        self.stop(child)

    def programs(self):
        """Run time of sluice's programs by the kernel's count: {name: (ns, runs)}. Empty without
        pinned links."""
        spent = {}
        links = f"{self.pins}/links"
        for pin in sorted(os.listdir(links)) if os.path.isdir(links) else ():
            if pin == "probe":  # a program that is attached nowhere
                continue
            link = json.loads(run("bpftool", "-j", "link", "show", "pinned",
                                  f"{links}/{pin}").stdout)
            number = (link[0] if isinstance(link, list) else link)["prog_id"]
            info = json.loads(run("bpftool", "-j", "prog", "show", "id", str(number)).stdout)
            spent[pin.split("_")[-1]] = (info.get("run_time_ns", 0), info.get("run_cnt", 0))
        return spent
