# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Drives headless Chromium over its debugging pipe. `browser.py PROFILE` reads commands from its
standard input, each a line of JSON, and prints a line of JSON for each. The commands are the
methods below: ["open", URL], ["size", WIDTH, HEIGHT], ["dark", true], ["scripts", false],
["eval", EXPRESSION], ["await", SECONDS, EXPRESSION], which waits for a true value ten times as long
at most, ["key", NAME], ["picture", FILE, true for the whole page], and ["complaints"], what the
browser has complained of since the last time."""
import base64
import json
import os
import subprocess
import sys
import time


class Browser:
    def __init__(self, profile):
        to, self.to = os.pipe()
        self.came, back = os.pipe()

        def give():  # the browser reads descriptor 3 and writes 4
            a, b = os.dup(to), os.dup(back)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars",
             f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=give, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to)
        os.close(back)
        self.last, self.rest, self.complaints, self.loaded = 0, b"", [], False
        self.session = None
        target = next(t for t in self.send("Target.getTargets")["targetInfos"]
                      if t["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"],
                                 flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Log", "Network":
            self.send(domain + ".enable")

    def read(self):
        while b"\0" not in self.rest:
            more = os.read(self.came, 1 << 20)
            if not more:
                raise SystemExit("the browser has ended")
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(text)
        method, of = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Log.entryAdded":
            self.complaints.append(of["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(of["exceptionDetails"].get("exception", {}).get(
                "description", of["exceptionDetails"]["text"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str([a.get("value") for a in of["args"]]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append("dialog " + of["message"])
            self.write("Page.handleJavaScriptDialog", accept=True)
        return message

    def write(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.last

    def send(self, method, **params):
        number = self.write(method, **params)
        while True:
            message = self.read()
            if message.get("id") == number:
                if "error" in message:
                    raise ValueError(message["error"]["message"])
                return message["result"]

    # The commands.

    def open(self, url):
        self.loaded = False
        self.send("Page.navigate", url=url)
        while not self.loaded:
            self.read()

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)

    def dark(self, on):
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def scripts(self, on):
        self.send("Emulation.setScriptExecutionDisabled", value=not on)

    def eval(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise ValueError(result["exceptionDetails"]["exception"].get("description"))
        return result["result"].get("value")

    def wait(self, seconds, expression):
        begin = time.monotonic()
        while time.monotonic() < begin + 10 * seconds:
            value = self.eval(expression)
            if value:
                return {"value": value, "seconds": time.monotonic() - begin}
            time.sleep(.02)
        raise ValueError("not within %s s: %s" % (10 * seconds, expression))

    def picture(self, file, whole=False):
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(file, "wb") as out:
            out.write(base64.b64decode(data["data"]))

    def key(self, name):
        for kind in "keyDown", "keyUp":
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode={"Tab": 9, "ArrowDown": 40, "Enter": 13}[name])

    def said(self):
        self.eval("0")  # what has come before
        said, self.complaints = self.complaints, []
        return said


def main():
    browser = Browser(sys.argv[1])
    names = {"await": "wait", "complaints": "said"}
    print("ready", flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"is": getattr(browser, names.get(name, name))(*arguments)}
        except ValueError as error:
            answer = {"failed": str(error)}
        print(json.dumps(answer), flush=True)
    browser.process.kill()


main()
