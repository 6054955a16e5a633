"""ComfyUI custom node folder: copy it into ComfyUI/custom_nodes, after `pip install memnet-basicsr`.

ComfyUI's own node "Load Upscale Model" then loads weights of MemNet and MemoryNet, and lists the bundled ones.
"""
import folder_paths

from memnet_basicsr.inference.bundled import FOLDER
from memnet_basicsr.spandrel import install

install()
folder_paths.add_model_folder_path('upscale_models', FOLDER)
NODE_CLASS_MAPPINGS = {}
