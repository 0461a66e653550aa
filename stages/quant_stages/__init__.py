"""The built-in stages; they enter by the entry-point group that anybody's stages use."""

from __future__ import annotations

from quant_stages import conformance, migration, schemas, seamless, upkeep
from quant_stages.data import discover, features, ingest, metadata, repair, verify
from quant_stages.flows import cycle, production

STAGES = (
    *migration.STAGES,
    *discover.STAGES,
    *ingest.STAGES,
    *repair.STAGES,
    *metadata.STAGES,
    *features.STAGES,
    *verify.STAGES,
    *seamless.STAGES,
    *upkeep.STAGES,
    *conformance.STAGES,
    *schemas.STAGES,
    *cycle.STAGES,
    *production.STAGES,
)
