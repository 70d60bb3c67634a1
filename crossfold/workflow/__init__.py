"""The only part that knows Snakemake: its jobs, messages and records, and why it runs what."""

from crossfold.workflow.configuration import configuration_files
from crossfold.workflow.explaining import explain
from crossfold.workflow.fingerprints import fingerprint, fingerprint_with_imports, software_of
from crossfold.workflow.freshness import notice_edits, source_digest, write_source
from crossfold.workflow.jobs import files_of, job, version_of
from crossfold.workflow.messages import readable_errors, say_what_failed, say_what_was_made
from crossfold.workflow.own_code import OwnCode
from crossfold.workflow.provenance import record
from crossfold.workflow.restoring import Restored, notice_published, restore

__all__ = [
    "OwnCode",
    "Restored",
    "configuration_files",
    "explain",
    "files_of",
    "fingerprint",
    "fingerprint_with_imports",
    "job",
    "notice_edits",
    "notice_published",
    "readable_errors",
    "record",
    "restore",
    "say_what_failed",
    "say_what_was_made",
    "software_of",
    "source_digest",
    "version_of",
    "write_source",
]
