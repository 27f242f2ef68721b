"""The only client of the Kubernetes API: requests, list, watch and patch, credentials; generic over the structs of `claim`.

Rules of this folder:
* Nothing waits for ever: each call has a deadline, each watch notices a connection that has gone silent.
* No library's exception leaves: errors are those of `podvitals.errors`, with a sentence that names the address, object or permission.
* Secrets (tokens, keys, a URL's secret path) are in no repr and no message.
"""
