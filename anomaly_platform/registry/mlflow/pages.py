"""MLflow's own pages, opening on training runs and without notices about usage data.

``mlflow server --app-name anomaly`` finds them by this package's entry point of MLflow's group
``mlflow.app``. What belongs here: what a browser that opens them for the first time finds set.
"""

import json
import sys
from pathlib import Path
from typing import Final

# MLflow does without them where they are not installed, and its pages never use them: 60 MB less.
for unused in ("polars", "pyarrow", "scipy"):
    sys.modules.setdefault(unused, None)  # type: ignore[arg-type]

from flask import Response  # noqa: E402
from mlflow.server import app as pages  # noqa: E402
from mlflow.server.fastapi_app import app  # noqa: E402

#: MLflow's pages keep what a person chose under these names in the browser. A first visit finds
#: training in place of language models, no data about usage and no open chat; what somebody chooses
#: later stays.
FIRST_CHOICES: Final = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
}
_NEWEST_STREAM: Final = (
    "ajax-api/2.0/mlflow/experiments/search?max_results=1&order_by=last_update_time+DESC"
    "&filter=tags.%60mlflow.experimentKind%60+%3D+%27custom_model_development%27"
)
_SCRIPT: Final = f"""<script>
for (const [name, value] of Object.entries({json.dumps(FIRST_CHOICES)}))
  if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value));
if (location.hash === "") {{
  location.replace("#/experiments");
  fetch("{_NEWEST_STREAM}").then((answer) => answer.json()).then(({{ experiments = [] }}) => {{
    if (experiments.length && location.hash === "#/experiments")
      location.replace(`#/experiments/${{experiments[0].experiment_id}}/runs`);
  }});
}}
</script>"""


def _first_page() -> Response:
    index = Path(pages.static_folder or "", "index.html").read_text(encoding="utf-8")
    return Response(index.replace("<head>", f"<head>{_SCRIPT}", 1), mimetype="text/html")


pages.view_functions["serve"] = _first_page
__all__ = ["app"]
