"""Drives the page in Chromium, over the WebDriver protocol: page.py ADDRESS FOLDER."""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ADDRESS, OUT = sys.argv[1], pathlib.Path(sys.argv[2])
PATIENCE = 180
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1180,820",
]


class Browser:
    """One session of a chromedriver."""

    def __init__(self, dark=False):
        self.folder = tempfile.TemporaryDirectory()
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        line = ""
        while "started successfully on port" not in line:
            line = self.driver.stdout.readline()
            assert line, "chromedriver ended"
        self.base = "http://127.0.0.1:" + line.rsplit(" ", 1)[1].strip(" .\n")
        flags = FLAGS + [f"--user-data-dir={self.folder.name}"] + (["--force-dark-mode"] if dark else [])
        wish = {"browserName": "chrome", "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wish}})
        self.base += "/session/" + session["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return "/element/" + next(iter(found.values()))

    def click(self, selector):
        self.call("POST", self.find(selector) + "/click", {})

    def type(self, selector, text):
        self.call("POST", self.find(selector) + "/value", {"text": text})

    def until(self, what, script, *arguments):
        end = time.monotonic() + PATIENCE
        while not (value := self.run("return " + script, *arguments)):
            assert time.monotonic() < end, f"in vain: {what}"
            time.sleep(0.02)
        return value

    def picture(self, name):
        (OUT / name).write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.folder.cleanup()


ANSWER = "[...document.querySelectorAll('.turn.assistant')].at(-1)"


def chat(page):
    page.until("a model to choose", "document.querySelector('#model').options.length > 0")
    page.type("#prompt", "Write a long story about a lighthouse keeper and the sea.\ue007")
    # The text must be seen to grow in steps, while it is being written.
    lengths = []
    while len(lengths) < 6:
        last = lengths[-1] if lengths else 0
        lengths.append(page.until("more of the answer", f"(() => {{ const t = {ANSWER}; const n = t ? t.textContent.length : 0;"
                                  f" return t && t.classList.contains('writing') && n > {last} ? n : 0; }})()"))
    page.picture("writing.png")
    assert page.run("return !document.querySelector('#stop').hidden"), "there is a button that stops it"
    page.click("#stop")
    page.until("the end of the answer", f"!{ANSWER}.classList.contains('writing')")
    stopped = page.run(f"return {ANSWER}.textContent")
    until_idle()
    assert page.run(f"return {ANSWER}.textContent") == stopped, "nothing comes after it was stopped"
    print(f"the answer grew in steps: {lengths}; stopped at {len(stopped)} characters")


def status():
    with urllib.request.urlopen(ADDRESS + "/api/status", timeout=PATIENCE) as answer:
        return json.load(answer)


def until_idle():
    end = time.monotonic() + PATIENCE
    while (now := status())["answers"]["active"]:
        assert time.monotonic() < end, "the model went on after it was stopped"
        time.sleep(0.05)
    assert now["answers"]["left"] >= 1, "that the reader left was counted"


def marks(page):
    """What a model writes becomes text and marks, never HTML of its own."""
    page.run("""
      const node = document.createElement('div');
      node.id = 'marks';
      document.body.append(node);
      markdown(node, "# T\\n\\n**b** *i* `c` [l](https://a.b/) [x](javascript:alert(1))\\n\\n- one\\n- two\\n\\n"
        + "```\\n<b>code</b>\\n```\\n<img src=x onerror='window.broken=1'><script>window.broken=1</scr" + "ipt>");
    """)
    count = lambda selector: page.run("return document.querySelectorAll('#marks ' + arguments[0]).length", selector)
    found = {selector: count(selector) for selector in ["h3", "strong", "em", "code", "a", "li", "pre", "img", "script"]}
    assert found == {"h3": 1, "strong": 1, "em": 1, "code": 2, "a": 1, "li": 2, "pre": 1, "img": 0, "script": 0}, found
    assert page.run("return document.querySelector('#marks pre').textContent") == "<b>code</b>"
    assert not page.run("return window.broken")
    page.run("document.querySelector('#marks').remove()")


def watch(page):
    page.click("#tab-watch")
    curve = "(document.querySelector('#c-tokens .curve')?.getAttribute('points') || '')"
    first = page.until("a chart", curve)
    page.run("document.querySelector('#prompt').value = 'Count to one hundred.'; document.querySelector('#ask').requestSubmit()")
    rate = page.until("a chart that moves", f"(() => {{ const n = parseFloat(document.querySelector('#n-tokens').textContent);"
                      f" return {curve} !== arguments[0] && n > 0 ? n : 0; }})()", first)
    page.until("more of it", "document.querySelector('#c-first .curve') && document.querySelector('#c-gap .curve')")
    page.until("some points", f"{curve}.split(' ').length > 8")
    page.picture("watch.png")
    checks = page.run("return [...document.querySelectorAll('#checks li')].map(li => li.textContent)")
    assert len(checks) == 6, checks
    print(f"the chart moved: {rate} tokens a second; health: {len(checks)} checks")


def models(page):
    page.click("#tab-models")
    page.until("the model in the list", "document.querySelector('#installed').textContent.includes('page-test')")
    page.until("the model in memory", "document.querySelector('#loaded').textContent.includes('page-test')")
    page.type("#pull-name", "no blanks in names\ue007")
    page.until("a refusal", "document.querySelector('#pulls').textContent.includes('no blanks in names')"
               " && !document.querySelector('#pulls progress')")
    page.picture("models.png")


def keyboard(page):
    """All parts can be reached and changed without a mouse, and everything has a name."""
    page.run("document.querySelector('#tab-models').focus()")
    page.type("#tab-models", "\ue012")
    assert page.run("return document.activeElement.id + document.querySelector('#chat').hidden") == "tab-chatfalse"
    nameless = page.run("""
      return [...document.querySelectorAll('button, input, select, textarea, svg[role=img]')]
        .filter(one => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length))
        .map(one => one.outerHTML);
    """)
    assert not nameless, nameless


def quiet(page):
    """The browser had nothing to complain of: no error, nothing that the policy forbids."""
    log = page.call("POST", "/se/log", {"type": "browser"})
    bad = [entry["message"] for entry in log if entry["level"] == "SEVERE" and "/api/pull" not in entry["message"]]
    assert not bad, bad


for dark in [False, True]:
    browser = Browser(dark)
    try:
        browser.call("POST", "/url", {"url": ADDRESS + "/"})
        assert browser.call("GET", "/title") == "TuTU"
        if dark:
            browser.until("a model", "document.querySelector('#model').options.length > 0")
            browser.type("#prompt", "Explain in a few points what a tide is. Use markdown.\ue007")
            # Long enough for a picture, or at its end: how much a model says is its own affair.
            done = f"{ANSWER}.textContent.length > 300 || !{ANSWER}.classList.contains('writing')"
            browser.until("an answer", f"{ANSWER} && {ANSWER}.textContent.length > 0 && ({done})")
            browser.picture("dark.png")
            # The answer may have come to its own end by now: then there is no button to press.
            browser.run("const stop = document.querySelector('#stop'); if (!stop.hidden) stop.click()")
            browser.until("the end of the answer", f"!{ANSWER}.classList.contains('writing')")
        else:
            chat(browser)
            marks(browser)
            watch(browser)
            models(browser)
            keyboard(browser)
        quiet(browser)
    except BaseException:
        browser.picture("failed.png")
        raise
    finally:
        browser.close()
print(f"screenshots: {OUT}")
