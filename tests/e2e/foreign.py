# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Programs of somebody else at the hooks of an interface, with the bare system call: the tools of
Debian 12 know no tcx.

foreign.py tcx-in|tcx-out|xdp|xdp-generic INTERFACE: attaches a program that accepts every packet,
a tcx program before all others. It prints `ready ID`, the program's id, and stays until it is
killed.
foreign.py list tcx-in|tcx-out INTERFACE: prints the names of the programs in their order.
foreign.py detach tcx-in|tcx-out INTERFACE: detaches the links there, as root may.
"""

import ctypes
import os
import platform
import signal
import socket
import struct
import sys

SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
PROG_LOAD, PROG_BY_ID, INFO, QUERY, LINK_CREATE, LINK_BY_ID, LINK_NEXT, LINK_DETACH = (
    5, 13, 15, 16, 28, 30, 31, 34)
SCHED_CLS, XDP = 3, 6
BPF_LINK_TYPE_TCX = 11
# Attach types; the program's type and verdict; the flags of a link: BPF_F_BEFORE, XDP_FLAGS_…
HOOKS = {"tcx-in": (46, SCHED_CLS, 0, 8), "tcx-out": (47, SCHED_CLS, 0, 8),
         "xdp": (37, XDP, 2, 4), "xdp-generic": (37, XDP, 2, 2)}
libc = ctypes.CDLL(None, use_errno=True)
kept = []  # what the kernel reads through a pointer


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(bytes(attributes), 128)
    result = libc.syscall(SYSCALL, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def pointer(data):
    kept.append(data)
    return ctypes.addressof(data)


def load(kind, verdict):
    code = struct.pack("<BBhiBBhi", 0xb7, 0, 0, verdict, 0x95, 0, 0, 0)
    return bpf(PROG_LOAD, struct.pack(
        "=IIQQIIQII16s", kind, 2, pointer(ctypes.create_string_buffer(code)),
        pointer(ctypes.create_string_buffer(b"GPL")), 0, 0, 0, 0, 0, b"somebody"))[0]


def info(fd, size=256):
    data = ctypes.create_string_buffer(size)
    bpf(INFO, struct.pack("=IIQ", fd, size, pointer(data)))
    return data.raw


def programs(hook, index):
    ids = ctypes.create_string_buffer(256)
    answer = bpf(QUERY, struct.pack("=IIIIQI", index, HOOKS[hook][0], 0, 0, pointer(ids), 64))[1]
    return struct.unpack(f"={struct.unpack_from('=I', answer, 24)[0]}I",
                         ids.raw[:4 * struct.unpack_from("=I", answer, 24)[0]])


def name(program):
    fd = bpf(PROG_BY_ID, struct.pack("=I", program))[0]
    text = info(fd)[64:80].split(b"\0")[0].decode()
    os.close(fd)
    return text


def detach(hook, index):
    """Links are listed for all network namespaces, and say the index of their interface alone. So
    the program tells apart the links of this one."""
    here = programs(hook, index)
    link, found = 0, []
    while True:
        try:
            link = struct.unpack_from("=I", bpf(LINK_NEXT, struct.pack("=I", link))[1], 4)[0]
        except FileNotFoundError:
            break
        found.append(link)
    for link in found:
        try:
            fd = bpf(LINK_BY_ID, struct.pack("=I", link))[0]
        except FileNotFoundError:  # it has ended meanwhile
            continue
        kind, _, program_id, at, attach_type = struct.unpack_from("=IIIxxxxII", info(fd))
        at_hook = kind == BPF_LINK_TYPE_TCX and attach_type == HOOKS[hook][0]
        if at_hook and at == index and program_id in here:
            bpf(LINK_DETACH, struct.pack("=I", fd))
        os.close(fd)


words = sys.argv[1:]
at = socket.if_nametoindex(words[-1])
if words[0] == "list":
    print(*map(name, programs(words[1], at)))
elif words[0] == "detach":
    detach(words[1], at)
else:
    attach_type, prog_type, accept, flags = HOOKS[words[0]]
    program = load(prog_type, accept)
    bpf(LINK_CREATE, struct.pack("=IIII", program, at, attach_type, flags))
    print("ready", struct.unpack_from("=I", info(program), 4)[0], flush=True)
    signal.pause()
