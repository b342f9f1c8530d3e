# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A wire between two network namespaces that loses, holds back, doubles and reorders exactly
what it is told to: frames are carried by hand between two interfaces, and a rule is asked for
each. A rule is a function of the segment (its field `up` says whether the client sent it) that
returns the frames to be carried on in its place, or None to carry it as it is. It is called by
the carrying thread alone, in the order of arrival.
"""

import select
import socket
import threading

from rawtcp import PACKET_OUTGOING, SOL_PACKET, Segment, inside


class Relay(threading.Thread):
    def __init__(self, namespace, client_side, server_side, port=8000):
        super().__init__(daemon=True)
        self.port, self.rule, self.lock = port, None, threading.RLock()
        self.socks = []
        with inside(namespace):
            for name in (client_side, server_side):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
                sock.setsockopt(SOL_PACKET, 23, 1)  # PACKET_IGNORE_OUTGOING
                sock.bind((name, 3))
                self.socks.append(sock)
        self.start()

    def obey(self, rule):
        """From now on this rule; None carries everything."""
        with self.lock:
            self.rule = rule

    def carry(self, up, frame):
        self.socks[1 if up else 0].send(frame)

    def run(self):
        while True:
            for sock in select.select(self.socks, [], [])[0]:
                frame, address = sock.recvfrom(70000)
                if address[2] == PACKET_OUTGOING:
                    continue
                up = sock is self.socks[0]
                with self.lock:
                    out = None
                    if self.rule:
                        segment = Segment.parse(frame[14:])
                        if segment and self.port in (segment.sport, segment.dport):
                            segment.up, segment.frame = up, frame
                            out = self.rule(segment)
                    for each in [frame] if out is None else out:
                        self.carry(up, each)
