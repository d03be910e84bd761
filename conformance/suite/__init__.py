"""The conformance suite: faults, load, gateways, judgement."""
