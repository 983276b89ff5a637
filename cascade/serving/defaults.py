"""Default settings of language model servers; manifest and environment override them.

| variable             | meaning                                | default                     |
|----------------------|----------------------------------------|-----------------------------|
| CURATION_VLM_URL     | the API that members call              | `http://127.0.0.1:8000/v1`  |
| CURATION_VLM_API_KEY | key of the API, if it requires one     | none                        |
| CURATION_VLLM        | vLLM's command, for `curate serve`     | `vllm` on the PATH          |
"""

URL_VARIABLE = "CURATION_VLM_URL"
KEY_VARIABLE = "CURATION_VLM_API_KEY"
EXECUTABLE_VARIABLE = "CURATION_VLLM"

HOST, PORT = "127.0.0.1", 8000
URL = f"http://{HOST}:{PORT}/v1"

MAX_SIDE_PX = 1024  # a 1080p frame takes 2,000 image tokens and shows little more
MAX_TOKENS = 160  # of an answer in our schema
CONCURRENCY = 64  # requests in flight; continuous batching gains up to about this number
TIMEOUT_S = 120.0  # per answer, including the wait of 64 requests on a slow machine
