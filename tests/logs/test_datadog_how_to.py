"""The Agent's configuration that the documentation shows: it can be read, and fits the lines."""

import io
import json
import re

import pytest
import yaml

from asgi_resilience.logs.logger import get_logger
from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.settings import Settings
from tests.page import ROOT, blocks

SHOWN = {
    block.title.rpartition("/")[2]: yaml.safe_load(block.text)
    for block in blocks(ROOT / "docs" / "how-to" / "logs-to-datadog.md")
    if block.language == "yaml"
}


def test_the_labels_of_containers_name_source_and_service():
    """They are JSON in YAML: a list with one entry for the container."""
    label = SHOWN["compose.yaml"]["services"]["shop"]["labels"]["com.datadoghq.ad.logs"]
    template = SHOWN["deployment.yaml"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    annotation = template["metadata"]["annotations"][f"ad.datadoghq.com/{container['name']}.logs"]
    assert json.loads(label) == json.loads(annotation) == [{"source": "python", "service": "shop"}]


@pytest.mark.parametrize(
    ("level", "left_out"), [("error", False), ("info", False), ("debug", True), ("trace", True)]
)
def test_the_rule_of_the_agent_leaves_out_debug_lines_only(level, left_out):
    """Also where a message speaks of debugging."""
    (source,) = SHOWN["conf.yaml"]["logs"]
    (rule,) = source["log_processing_rules"]
    out = io.BytesIO()
    with configure_logging(Settings(service="shop", log_level="TRACE"), stream=out):
        getattr(get_logger("shop"), level)('"level":"DEBUG"')
    assert rule["type"] == "exclude_at_match"
    assert bool(re.search(rule["pattern"], out.getvalue().decode())) is left_out
