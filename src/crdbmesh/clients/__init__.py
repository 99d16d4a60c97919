"""The only importers of SDKs: thin, typed, injected; waits and error translation live here."""
