"""
A hub on this machine that becomes slow, and what is loaded from it before and after: `python slow_hub.py FOLDER`.

The folder has `repositories/datasets/<owner>/<name>` and `repositories/models/<owner>/<name>`.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "a" * 40
DELAY, PATIENCE = 60.0, 0.5  # seconds until an answer, and until ours gives up


class Hub(ThreadingHTTPServer):
    """It answers what `datasets` and `huggingface_hub` ask about files of the main branch, or of any other."""

    daemon_threads = True

    def __init__(self, repositories: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.delay = 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        time.sleep(self.server.delay)
        # A revision with slashes is quoted, a file's path may be.
        status, headers, content = self._answer(*map(unquote, urlparse(self.path).path.removeprefix("/").split("/")))
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except OSError:  # the client has not waited
            pass

    do_HEAD = do_GET

    def _answer(self, *parts: str) -> tuple[int, dict[str, str], bytes]:
        if parts[0] == "api":
            repository = self.server.repositories.joinpath(*parts[1:4])
            return self._entries(repository, parts[6:]) if parts[4:5] == ("tree",) else self._info(repository)
        kind = parts if parts[0] == "datasets" else ("models", *parts)
        path = self.server.repositories.joinpath(*kind[:3], *kind[5:])
        if not path.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        content = path.read_bytes()
        return 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content

    def _info(self, repository: Path) -> tuple[int, dict[str, str], bytes]:
        if not repository.is_dir():
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        files = [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()]
        info = {"id": repository.name, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files], "tags": []}
        facts = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "_id": "1"}
        return 200, {}, json.dumps({**info, **facts}).encode()

    def _entries(self, repository: Path, parts: tuple[str, ...]) -> tuple[int, dict[str, str], bytes]:
        folder = repository.joinpath(*parts)
        if not folder.is_dir():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        recursive = "recursive=true" in self.path.lower()
        entries = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(repository).as_posix(),
                "size": path.stat().st_size,
                "oid": "0",
            }
            for path in (folder.rglob("*") if recursive else folder.iterdir())
        ]
        return 200, {}, json.dumps(entries).encode()


def main(folder: Path) -> None:
    """Print what is loaded, as one JSON object for each of the two times."""
    hub = Hub(folder / "repositories")
    os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(folder / "home")}

    from hf_vasso.tasks import hub as loading
    from hf_vasso.tasks.glue.arguments import GlueArguments
    from hf_vasso.tasks.glue.data import load_task
    from hf_vasso.tasks.glue.model import load_model, load_tokenizer
    from hf_vasso.tasks.glue.table import get_task
    from hf_vasso.tasks.translation.corpora import get_corpus
    from hf_vasso.tasks.translation.sentence_pairs import load_pairs

    loading._PATIENCE_SECONDS = PATIENCE
    glue = GlueArguments(task_name="rte", model_name_or_path="owner/bert")
    wanted: dict[str, Callable[[], Any]] = {
        "task": lambda: load_task(get_task("rte")).fingerprints,
        "other task": lambda: load_task(get_task("cola")).fingerprints,
        "corpus": lambda: load_pairs(get_corpus("iwslt14.de-en"), None, ["train", "test"]).fingerprints,
        "tokenizer": lambda: load_tokenizer(glue).vocab_size,
        "model": lambda: sum(weights.numel() for weights in load_model(glue, get_task("rte")).parameters()),
    }
    for delay in (0.0, DELAY):
        hub.delay = delay
        loading.only_from_cache.cache_clear()
        start = time.monotonic()
        found = {name: _found(load) for name, load in wanted.items()}
        print(json.dumps({**found, "seconds": time.monotonic() - start}))


def _found(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
