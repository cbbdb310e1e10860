"""The box that shows one image of a grid: its seed, its class and the command that writes it as a file.

A click on an image opens it. With the keyboard: the arrow keys move between the images of the picture that has the focus, Enter opens.
Without scripts the picture stays a link to its file.
"""

import json
from html import escape
from os.path import commonprefix

from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import GROUP_PADDING, PADDING, left_edges

HINT = "Select an image for its seed and the command that makes it."


def samples_attribute(drawing: Drawing, *, width: int) -> str:
    """Return the attribute of the link of a grid ``width`` px wide that says what each of its images is; "" for other pictures."""
    if not drawing.samples:
        return ""
    columns = len(drawing.samples[0])
    groups = [columns for _, columns in drawing.groups] or [columns]
    side = (width - PADDING * (columns - 1) - (GROUP_PADDING - PADDING) * (len(groups) - 1)) // columns
    found = [sample for row in drawing.samples for sample in row if sample is not None]
    start = commonprefix([sample.command for sample in found])
    images = [
        [sample and [sample.number, sample.class_name, sample.truncation, sample.command[len(start) :]] for sample in row]
        for row in drawing.samples
    ]
    content = {
        "seed": found[0].seed,
        "side": side,
        "step": side + PADDING,
        "lefts": left_edges(groups, side + PADDING),
        "start": start,
        "images": images,
    }
    return f' data-samples="{escape(json.dumps(content, separators=(",", ":"), ensure_ascii=False))}"'


STYLE = """
[data-samples]{position:relative;cursor:zoom-in}
.cursor{position:absolute;outline:3px solid var(--accent);outline-offset:1px;border-radius:2px;pointer-events:none}
dialog.sample{border:1px solid var(--rule);border-radius:8px;background:var(--card);color:var(--ink);padding:1.25rem;
  width:min(100% - 2rem,34rem)}
dialog.sample::backdrop{background:rgb(0 0 0/.55)}
dialog.sample canvas{display:block;width:min(100%,16rem);margin:0 auto 1rem}
dialog.sample .pixels{image-rendering:pixelated}
dialog.sample pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:1rem 0 .75rem;background:var(--page)}
dialog.sample .buttons{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}
dialog.sample button{font:inherit;font-size:.875rem;padding:.35rem .8rem;border:1px solid var(--rule);border-radius:5px;
  background:var(--page);color:var(--ink);cursor:pointer}
dialog.sample .buttons a{font-size:.875rem;margin-right:auto}
"""

SCRIPT = """
const links=[...document.querySelectorAll("[data-samples]")];
if(links.length){
  const box=document.createElement("dialog");box.className="sample";box.setAttribute("aria-label","Sample");
  box.innerHTML='<canvas aria-hidden="true"></canvas><dl class="facts"></dl><pre tabindex="0"><code></code></pre>'+
    '<div class="buttons"><button class="copy" type="button">Copy the command</button><a>Whole picture</a>'+
    '<button class="close" type="button">Close</button></div>';
  document.body.append(box);
  const part=name=>box.querySelector(name);
  let shown=null;
  const open=(grid,row,column)=>{const image=grid.data.images[row]?.[column];if(!image)return false;
    const {data,img,link}=grid,[number,name,truncation,rest]=image,canvas=part("canvas");shown={grid,row,column};
    canvas.width=canvas.height=data.side;canvas.classList.toggle("pixels",!!link.closest(".pixels"));
    const now=shown;img.loading="eager";  // it may not have been near the window yet
    img.decode().then(()=>{if(shown===now)
      canvas.getContext("2d").drawImage(img,data.lefts[column],data.step*row,data.side,data.side,0,0,data.side,data.side)}).catch(()=>{});
    const facts=[["Seed",data.seed],["Image",number]];
    if(name)facts.push(["Class",name]);if(truncation!==null)facts.push(["Truncation",truncation]);
    part(".facts").replaceChildren(...facts.flatMap(([word,value])=>{const dt=document.createElement("dt"),dd=document.createElement("dd");
      dt.textContent=word;dd.textContent=value;return[dt,dd]}));
    part("code").replaceChildren(...(data.start+rest).split(" ").flatMap((word,i)=>{const span=document.createElement("span");
      span.className="flag";span.textContent=word;return i?[" ",span]:[span]}));
    part("a").href=link.href;part(".copy").textContent="Copy the command";
    if(!box.open){box.showModal();part(".copy").focus()}return true};
  const next=(grid,row,column,key)=>{const step={ArrowLeft:[0,-1],ArrowRight:[0,1],ArrowUp:[-1,0],ArrowDown:[1,0]}[key];
    if(!step)return null;
    for(let r=row+step[0],c=column+step[1];grid.data.images[r]&&c>=0&&c<grid.data.lefts.length;r+=step[0],c+=step[1])
      if(grid.data.images[r][c])return[r,c];
    return[row,column]};
  for(const link of links){
    const data=JSON.parse(link.dataset.samples),img=link.querySelector("img"),grid={data,img,link},width=Number(img.getAttribute("width"));
    const cursor=document.createElement("span");cursor.className="cursor";cursor.hidden=true;link.append(cursor);
    const first=data.images.findIndex(row=>row.some(image=>image));
    let at=[first,data.images[first].findIndex(image=>image)];
    const mark=()=>{const scale=img.clientWidth/width,place=img.getBoundingClientRect(),from=link.getBoundingClientRect();
      Object.assign(cursor.style,{left:place.left-from.left+data.lefts[at[1]]*scale+"px",top:place.top-from.top+data.step*at[0]*scale+"px",
        width:data.side*scale+"px",height:data.side*scale+"px"});cursor.hidden=false};
    link.addEventListener("focus",()=>{if(link.matches(":focus-visible"))mark()});
    link.addEventListener("blur",()=>{cursor.hidden=true});
    link.addEventListener("keydown",e=>{const to=next(grid,...at,e.key);if(to){e.preventDefault();at=to;mark()}});
    link.addEventListener("click",e=>{
      if(e.ctrlKey||e.metaKey||e.shiftKey)return;
      let to=at;
      if(e.detail){const place=img.getBoundingClientRect(),scale=width/place.width;
        const x=(e.clientX-place.left)*scale,y=(e.clientY-place.top)*scale;
        to=[Math.floor(y/data.step),data.lefts.findLastIndex(left=>left<=x)]}
      if(open(grid,...to)){e.preventDefault();at=to}});
  }
  box.addEventListener("keydown",e=>{const to=next(shown.grid,shown.row,shown.column,e.key);
    if(to){e.preventDefault();open(shown.grid,...to)}e.stopPropagation()});
  box.addEventListener("click",e=>{if(e.target===box)box.close()});
  part(".close").addEventListener("click",()=>box.close());
  part(".copy").addEventListener("click",async()=>{const code=part("code");
    try{await navigator.clipboard.writeText(code.textContent)}
    catch{getSelection().selectAllChildren(code);document.execCommand("copy")}
    part(".copy").textContent="Copied"});
}
"""
