"""The operator's verbs: launch and watch native backfills, and report what the lake holds."""
