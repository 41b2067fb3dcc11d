"""Parts of the benchmark of recording: the data, the client, the recorder, the bytes."""
