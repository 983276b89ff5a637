"""What holds for language models behind a server, where neither manifest nor environment differ.

| variable             | meaning                                | default                     |
|----------------------|----------------------------------------|-----------------------------|
| CURATION_VLM_URL     | the API that members ask               | `http://127.0.0.1:8000/v1`  |
| CURATION_VLM_API_KEY | its key, where it wants one            | none                        |
| CURATION_VLLM        | vLLM's command, for `curate serve`     | `vllm` on the PATH          |
"""

URL_VARIABLE = "CURATION_VLM_URL"
KEY_VARIABLE = "CURATION_VLM_API_KEY"
EXECUTABLE_VARIABLE = "CURATION_VLLM"

HOST, PORT = "127.0.0.1", 8000
URL = f"http://{HOST}:{PORT}/v1"

MAX_SIDE_PX = 1024  # a 1080p frame has 2,000 image tokens, and little more to see
MAX_TOKENS = 160  # of an answer in our schema
CONCURRENCY = 64  # requests in flight: continuous batching gains up to about there
TIMEOUT_S = 120.0  # for one answer, the waiting of 64 on a slow machine included
