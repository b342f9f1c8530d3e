# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A wire between two network namespaces that loses, delays, duplicates and reorders by a rule. A
thread copies frames between two packet sockets and calls the rule for each segment, in the order of
arrival.

A rule is a function of the segment; the field `up` is true if the client sent it. It returns the
frames to send instead, or None to send the segment's own frame.
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
        """Sets the rule. None forwards everything."""
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
