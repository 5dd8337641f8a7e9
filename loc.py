from soka.compare import *
from pathlib import Path
from statistics import *
def local(x,skip=10,w=5):
    n=x['norms'][skip:]; out=[]
    for i in range(len(n)):
        win=n[max(0,i-w):i+w+1]; out.append((n[i]/median(win)-1)**2)
    return fmean(out)**.5
import math
def jumps(x,skip=10):
    n=[math.log(v) for v in x['norms'][skip:]]
    return pstdev([b-a for a,b in zip(n,n[1:])])
for p in sorted(Path('nbs/records/compare').glob('*.json')):
    r=read_compare(p); 
    for f in (local,jumps):
        print(p.stem,f.__name__,{a:round(fmean(map(f,final(r['runs'][a]))),3) for a in ('lora','pissa','soka 100%','soka 75%','soka 50%')},
          {b:verdict(paired(final(r['runs']['soka 75%']),final(r['runs'][b]),f)) for b in ('lora','pissa')})
