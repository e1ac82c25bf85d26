# Sourced: installs the peers below $1, or below a temporary folder, and says
# where as $work. Extras are those that parse formats; torch and TensorFlow,
# of gigabytes, which only some checks of modelaudit and modelscan use, are not
# among them.
if [[ $# -gt 0 ]]; then
	mkdir -p "$1"
	work=$(cd "$1" && pwd)
else
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
fi
export CGO_ENABLED=0 NO_ANALYTICS=1 # modelaudit sends what it does elsewhere otherwise
peers=(picklescan modelscan fickling modelaudit)
extras=('[7z]' '[h5py]' '' '[dill,h5,onnx,safetensors,sevenzip,tflite]')
for i in "${!peers[@]}"; do
	venv=$work/env/${peers[i]}
	[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "${peers[i]}${extras[i]}"
done
# What they import and do not name.
"$work/env/picklescan/bin/python" -m pip install --quiet --disable-pip-version-check numpy
"$work/env/fickling/bin/python" -m pip install --quiet --disable-pip-version-check typing_extensions
