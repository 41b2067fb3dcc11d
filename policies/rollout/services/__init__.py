"""The services of the wire, each thin over the control plane's core."""
