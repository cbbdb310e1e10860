"""A slider between the latents of two samples that runs the exported generator in the browser, from a page that is opened as a file.

Browsers let such a page run scripts of its folder, but neither fetch files nor import modules. Model, runtime and latents are therefore
scripts that hold them as text (gzip, base64). They are loaded when the reader opens the slider.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gconv_gan.gallery.latents import Sheet
from gconv_gan.gallery.slider.runtime import PACKAGE, BrowserRuntime

SCRIPT_FILE, RUNTIME_FILE, MODEL_FILE = "slider-ort.js", "slider-runtime.js", "slider-model.js"
LICENSE_FILE = f"slider-{PACKAGE}-LICENSE.txt"


@dataclass(frozen=True)
class Slider:
    """What the slider of a page needs."""

    runtime: BrowserRuntime
    onnx: bytes
    """The generator as ONNX: z [b, d], psi [] if ``truncates``, and y [b] if it has classes -> images [b, 3, s, s] in [-1, 1]."""
    truncates: bool
    """Whether ψ, the truncation of w, is an input."""


def slider_files(slider: Slider, *, sheet: Sheet, class_names: Sequence[str]) -> dict[str, bytes]:
    """Return the files of the slider by name; ``sheet`` is of the samples at the top of the page, ``class_names`` are of all classes."""
    model = {
        "onnx": _packed(slider.onnx),
        "latents": _packed(sheet.z.numpy().astype("<f4").tobytes()),
        "latentDim": sheet.z.shape[1],
        "labels": None if sheet.y is None else sheet.y.tolist(),
        "names": list(class_names),
    }
    runtime = {"loader": _packed(slider.runtime.loader), "binary": _packed(slider.runtime.binary)}
    return {
        SCRIPT_FILE: slider.runtime.script,
        RUNTIME_FILE: _as_script(runtime),
        MODEL_FILE: _as_script(model),
        LICENSE_FILE: slider.runtime.license.encode(),
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _as_script(values: Mapping[str, Any]) -> bytes:
    return f"Object.assign(window.latentSlider??={{}},{json.dumps(values, separators=(',', ':'))});\n".encode()


def slider_html(slider: Slider, files: Mapping[str, bytes], *, sheet: Sheet, image_size: int, pixels: bool) -> str:
    """Return the controls, which are hidden until the slider is opened; the second end is a sample of the same class, if there is one."""
    megabytes, labels = sum(map(len, files.values())) / 1e6, [0] * len(sheet.z) if sheet.y is None else sheet.y.tolist()
    stop = labels.index(labels[0], 1) if labels[0] in labels[1:] else len(labels) - 1

    def end(word: str, number: int) -> str:
        return (
            f'<div class="end"><label>{word}: image<input type="number" min="0" max="{len(labels) - 1}" '
            f'value="{number}"></label><canvas aria-hidden="true"></canvas><span class="name"></span></div>'
        )

    def scale(words: str, name: str, step: float, value: float) -> str:
        return (
            f'<label><span>{words}</span><input type="range" class="{name}" min="0" max="1" step="{step:g}" value="{value:g}">'
            f"<output>{value:.2f}</output></label>"
        )

    psi = scale("Truncation ψ", "psi", 0.05, 1.0) if slider.truncates else ""
    classes = "" if sheet.y is None else '<label><span>Class</span><select class="class"></select></label>'
    picture = f'<canvas class="drawn" role="img" width="{image_size}" height="{image_size}"></canvas>'
    return f"""<div class="slider{" pixels" if pixels else ""}">
<p><button type="button" class="open">Open the slider</button> <span class="hint">It loads {megabytes:.1f} MB
from the folder of this page: the generator and {escape(PACKAGE)} {escape(slider.runtime.version)}.</span></p>
<div class="controls" hidden><div class="walk">{end("Start", 0)}{picture}{end("End", stop)}</div>
{scale("Position", "position", 0.01, 0.0)}{psi}{classes}<p class="time hint"></p></div>
<p class="told" role="status"></p></div>"""


STYLE = """
.slider{max-width:41rem}
.slider p{margin:0}
.slider button,.slider input[type=number],.slider select{font:inherit;font-size:.875rem;color:var(--ink);background:var(--card);
  border:1px solid var(--rule);border-radius:5px;padding:.35rem .6rem;max-width:100%}
.slider button{cursor:pointer;padding-inline:.8rem}
.slider .hint,.slider .told,.slider label,.slider .name{font-size:.875rem;color:var(--muted)}
.slider .told{margin-top:.8rem;font-family:var(--mono);font-size:.8125rem}
.slider .controls{display:grid;gap:.9rem}
.slider .walk{display:grid;grid-template-columns:minmax(0,5.5rem) minmax(0,18rem) minmax(0,5.5rem);gap:1rem;align-items:center}
.slider canvas{display:block;width:100%;height:auto;aspect-ratio:1}
.slider.pixels canvas{image-rendering:pixelated}
.slider .end{display:grid;gap:.4rem;text-align:center}
.slider .end label{display:grid;gap:.2rem}
.slider .end input{width:100%;text-align:center}
.slider .end canvas{width:4rem;max-width:100%;margin-inline:auto}
.slider .name{overflow-wrap:anywhere;line-height:1.2}
.slider .controls>label{display:grid;grid-template-columns:6.5rem minmax(0,1fr) 2.5rem;gap:.8rem;align-items:center}
.slider .controls>label select{justify-self:start}
.slider output{font-family:var(--mono);color:var(--ink);text-align:right}
.slider input[type=range]{accent-color:var(--accent);width:100%;margin:0}
@media (max-width:40rem){
  .slider .walk{grid-template-columns:1fr 1fr}.slider .drawn{grid-column:1/3;grid-row:1;max-width:18rem;margin-inline:auto}
  .slider .controls>label{grid-template-columns:5rem minmax(0,1fr) 2.5rem}
}
@media print{#slider{display:none}}
"""

SCRIPT = (
    f"""
{{
const files={json.dumps([SCRIPT_FILE, RUNTIME_FILE, MODEL_FILE])};
"""
    + """
const root=document.querySelector(".slider"),part=name=>root.querySelector(name),told=words=>{part(".told").textContent=words};
const load=file=>new Promise((done,failed)=>{const script=document.createElement("script");script.src=file;script.onload=done;
  script.onerror=()=>failed(Error(file+" is missing in the folder of this page"));document.head.append(script)});
const unpacked=async text=>{const packed=new Blob([Uint8Array.from(atob(text),letter=>letter.charCodeAt(0))]);
  return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer()};
// as gconv_gan.gallery.latents.slerp: along the great circle between the directions, linearly between the norms
const slerp=(a,b,t)=>{const p=Math.hypot(...a),q=Math.hypot(...b),chord=sign=>Math.hypot(...a.map((x,i)=>x/p+sign*b[i]/q));
  const omega=2*Math.atan2(chord(-1),chord(1)),sine=Math.sin(omega),norm=(1-t)*p+t*q;
  const [u,v]=sine<1e-6?[1-t,t]:[Math.sin((1-t)*omega)/sine,Math.sin(t*omega)/sine];
  return Float32Array.from(a,(x,i)=>norm*(u*x/p+v*b[i]/q))};
const begin=async()=>{
  for(const file of files)await load(file);
  const data=window.latentSlider,wasm=ort.env.wasm;
  wasm.numThreads=1;  // more need headers of a server
  wasm.wasmBinary=await unpacked(data.binary);
  // versions before 1.24 resolve a path against the module's address, which a blob's cannot be
  const loader=new TextDecoder().decode(await unpacked(data.loader)).replaceAll("import.meta.url","location.href");
  wasm.wasmPaths={mjs:URL.createObjectURL(new Blob([loader],{type:"text/javascript"}))};
  const session=await ort.InferenceSession.create(new Uint8Array(await unpacked(data.onnx)),{executionProviders:["wasm"]});
  const numbers=new Float32Array(await unpacked(data.latents)),d=data.latentDim,count=numbers.length/d;
  const latent=number=>Array.from(numbers.subarray(number*d,(number+1)*d));
  const position=part(".position"),psi=part(".psi"),classes=part(".class"),canvas=part(".drawn"),ends=[...root.querySelectorAll(".end")];
  const chosen=()=>ends.map(end=>Number(end.querySelector("input").value));
  const grid=document.querySelector(".hero [data-samples]"),samples=JSON.parse(grid.dataset.samples);
  const run=async()=>{
    const [start,stop]=chosen(),t=Number(position.value),feeds={z:new ort.Tensor("float32",slerp(latent(start),latent(stop),t),[1,d])};
    if(psi)feeds.psi=new ort.Tensor("float32",[Number(psi.value)],[]);
    if(classes)feeds.y=new ort.Tensor("int64",[BigInt(classes.value)],[1]);
    const words=`Image ${start} to ${stop} at ${t.toFixed(2)}`+(psi?`, ψ ${Number(psi.value)}`:"")+
      (classes?", "+classes.selectedOptions[0].textContent:"");
    const before=performance.now(),{images}=await session.run(feeds),milliseconds=performance.now()-before;
    const pixels=new ImageData(canvas.width,canvas.height),area=canvas.width*canvas.height;
    pixels.data.fill(255);
    for(let c=0;c<3;c++)for(let i=0;i<area;i++)pixels.data[4*i+c]=Math.trunc(Math.min(255,Math.max(0,127.5*images.data[c*area+i]+128)));
    canvas.getContext("2d").putImageData(pixels,0,0);canvas.setAttribute("aria-label",words);
    part(".time").textContent=`${milliseconds.toFixed(milliseconds<10?1:0)} ms per picture`};
  let busy=false,again=false;
  const draw=async()=>{again=true;if(busy)return;busy=true;
    try{while(again){again=false;await run();await new Promise(requestAnimationFrame)}}
    catch(error){told("The generator cannot run in this browser: "+error.message)}finally{busy=false}};
  const show=async()=>{
    const image=grid.querySelector("img");image.loading="eager";await image.decode();
    const {side,step,lefts,images}=samples;
    ends.forEach((end,which)=>{const number=chosen()[which],column=number%lefts.length,row=Math.floor(number/lefts.length);
      const canvas=end.querySelector("canvas");canvas.width=canvas.height=side;
      canvas.getContext("2d").drawImage(image,lefts[column],step*row,side,side,0,0,side,side);
      end.querySelector(".name").textContent=images[row][column][1]})};
  if(classes)classes.append(...data.names.map((name,index)=>new Option(name,index)));
  const classOfStart=()=>{if(classes)classes.value=data.labels[chosen()[0]]};
  ends.forEach((end,side)=>end.querySelector("input").addEventListener("change",event=>{
    event.target.value=Math.min(count-1,Math.max(0,Math.round(Number(event.target.value))));
    if(side===0)classOfStart();show();draw()}));
  for(const range of [position,psi].filter(Boolean))range.addEventListener("input",()=>{
    range.nextElementSibling.textContent=Number(range.value).toFixed(2);draw()});
  classes?.addEventListener("change",draw);
  classOfStart();
  part(".controls").hidden=false;part(".open").parentElement.hidden=true;told("");position.focus();
  await Promise.all([show(),draw()])};
part(".open").addEventListener("click",async event=>{
  event.target.disabled=true;told("Loading …");
  try{await begin()}catch(error){told("The slider cannot start: "+error.message);event.target.disabled=false}});
}
"""
)
