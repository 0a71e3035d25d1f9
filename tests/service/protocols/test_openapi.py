"""Whatever /openapi.json allows is asked of the real service by schemathesis, and answered as it says."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness import running_service

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
KEY = "an admin's key of some length"
EXAMPLES = 12  # requests an operation


def test_every_route_keeps_to_the_openapi_document(digits_exports, tmp_path):
    exports = shutil.copytree(digits_exports, tmp_path / "exports")
    with running_service(exports, tmp_path, admin_keys=KEY, log_level="WARNING") as service:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json"),
                *("--checks", CHECKS, "--max-examples", str(EXAMPLES), "--seed", "1", "--phases", "examples,fuzzing"),
                *("--header", f"X-API-Key: {KEY}", "--exclude-path-regex", "/unload$", "--no-color"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert "unforeseen" not in service.log()
