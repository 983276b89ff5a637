"""Fake CVAT server that answers our requests in the shape of its schema.

It shows only that requests are complete and that answers of that shape are read.
"""

import io
import json
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import parse_qs, urlsplit

from PIL import Image


class StandIn:
    """Tasks in memory, on loopback.

    Attributes:
        tasks: Number -> name, labels, frames, job state, annotations, deleted frames.
        fail: A status that every request gets; None to answer.
        seen: Method and path of every request, and what authorised it.
    """

    def __init__(self):
        self.tasks, self.fail, self.seen = {}, None, []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stand_in.seen.append((self.command, self.path, self.headers.get("Authorization")))
                status, content = stand_in.answer(self.command, self.path, self.headers, body)
                data = b"" if content is None else json.dumps(content).encode()
                self.send_response(stand_in.fail or status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, path, headers, body):
        parts = urlsplit(path)
        query = {key: value[0] for key, value in parse_qs(parts.query).items()}
        words = [word for word in parts.path.split("/") if word][1:]  # without `api`
        if words[0] == "requests":
            operation = {"type": "create:task", "target": "task", "task_id": 1}
            return 200, {
                "id": words[1],
                "status": "finished",
                "operation": operation,
                "created_date": "2026-01-01T00:00:00Z",
                "message": "",
            }
        if words[0] in ("jobs", "labels"):
            task = self.tasks[int(query["task_id"])]
            rows = [self.job(task)] if words[0] == "jobs" else task["labels"]
            return 200, page(rows)
        if len(words) == 1 and method == "GET":
            named = [n for n, task in self.tasks.items() if task["name"] == query["name"]]
            return 200, page([self.task(number) for number in named])
        if len(words) == 1:
            return 201, self.create(json.loads(body))
        number = int(words[1])
        if len(words) == 2:
            return self.change_task(method, number, body)
        if words[2:] == ["data", "meta"]:
            return 200, self.meta(self.tasks[number])
        if words[2] == "data":
            return self.upload(number, headers, body)
        if method == "PUT":
            self.tasks[number]["annotations"] = json.loads(body)
        return 200, self.tasks[number]["annotations"]

    def change_task(self, method, number, body):
        if method == "DELETE":
            del self.tasks[number]
            return 204, None
        if method == "PATCH":
            self.tasks[number] |= json.loads(body)
        return 200, self.task(number)

    def create(self, content):
        number = len(self.tasks) + 1
        labels = [{**label, "id": 100 + i} for i, label in enumerate(content["labels"])]
        nothing = {"version": 0, "tags": [], "shapes": [], "tracks": []}
        self.tasks[number] = {
            "name": content["name"], "labels": labels, "frames": [], "state": "new",
            "annotations": nothing, "deleted": [],
        }  # fmt: skip
        return self.task(number)

    def upload(self, number, headers, body):
        if "Upload-Multiple" in headers:
            head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
            for part in BytesParser().parsebytes(head + body).get_payload():
                if part.get_filename():
                    image = Image.open(io.BytesIO(part.get_payload(decode=True)))
                    name = PurePosixPath(part.get_filename()).name
                    self.tasks[number]["frames"].append((name, *image.size))
            return 200, None
        return 202, {"rq_id": "r1"}

    def task(self, number):
        task = self.tasks[number]
        summary = {"url": f"{self.address}/api/jobs?task_id={number}"}
        return {
            "id": number, "name": task["name"], "size": len(task["frames"]),
            "jobs": {"count": 1, "completed": 0, "validation": 0, **summary}, "labels": summary,
            "organization": None,
        }  # fmt: skip

    def job(self, task):
        summary = {"url": self.address}
        assignee = {"url": self.address, "id": 1, "username": "ada"}
        return {
            "id": 1, "task_id": 1, "type": "annotation", "state": task["state"],
            "stage": "annotation", "status": "annotation", "start_frame": 0,
            "stop_frame": len(task["frames"]) - 1, "assignee": assignee,
            "issues": {"count": 0, **summary}, "labels": summary,
        }  # fmt: skip

    def meta(self, task):
        frames = [
            {"name": n, "width": w, "height": h, "related_files": 0, "has_related_context": False}
            for n, w, h in task["frames"]
        ]
        return {
            "size": len(frames), "start_frame": 0, "stop_frame": len(frames) - 1,
            "chunk_size": 72, "image_quality": 95, "frame_filter": "", "frames": frames,
            "deleted_frames": task["deleted"], "included_frames": None, "media_type": "image",
            "chunks_updated_date": "2026-01-01T00:00:00Z",
        }  # fmt: skip


def page(rows):
    return {"count": len(rows), "next": None, "previous": None, "results": rows}
