"""The benchmark's parts: proxies, load, measurement and report. Standard library only."""
