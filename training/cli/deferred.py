"""The modules that commands use, imported when a command uses them: Keras takes seconds, and `--help` does not wait.

Each is named only here, since Python executes such a module when it is imported for a second time; so that one which
`models` imports in this way comes from there.
"""

# ruff: noqa: F401 - the commands import these names from here

from models.networks.cli import registry
from models.process.lazy import imported_when_used

with imported_when_used():
    import training.data.audit as auditing
    import training.data.dataset as dataset
    import training.data.index as indexing
    import training.evaluate.evaluate as evaluation
    import training.evaluate.labelled as labelling
    import training.evaluate.metrics as measuring
    import training.export.convert as converting
    import training.export.quantize as quantizing
    import training.fit.distributed as distributed
    import training.fit.lr_finder as lr_finder
    import training.fit.options as fit_options
    import training.fit.setup as setup
    import training.importing.bundle as imports
    import training.promotion.publish_check as publish_check
    import training.promotion.publishing as publishing
    import training.promotion.version_diff as version_diff
    import training.report.comparison as comparison
    import training.report.filters as drawing
    import training.report.preview as previewing
    import training.report.svg as svg
    import training.retrain.job as jobs
    import training.retrain.pipeline as retraining
    import training.retrain.prometheus as prometheus
    import training.runs.directory as directory
    import training.runs.lineage as lineage
    import training.runs.pipeline as pipeline
    import training.runs.plan as plans
    import training.weights.bundle as pretrained_bundle
    import training.weights.pretrained as pretrained_networks
    import training.weights.start as starts
