"""Serves a GGUF model over the OpenAI protocol: python serve.py MODEL PORT.

The server is the one of cyllama, on llama.cpp. Its slots keep the tokens of the
request before, which llama.cpp refuses to go on from; so the memory is cleared
when a slot is reset. Nothing of the protocol is touched.
"""
import sys
import time

from cyllama.llama.server import python as server

reset = server.ServerSlot.reset


def reset_with_memory(slot):
    slot.context.kv_cache_clear()
    reset(slot)


server.ServerSlot.reset = reset_with_memory
config = server.ServerConfig(model_path=sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), n_ctx=2048, n_gpu_layers=0)
with server.PythonServer(config):
    print("ready", flush=True)
    while True:
        time.sleep(1)
