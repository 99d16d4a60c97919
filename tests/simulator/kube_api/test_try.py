import json
def test_try(api, kubectl):
    from crdbmesh.simulator.kube import protobuf, negotiation
    seen=[]
    orig=protobuf.decode
    def dec(b):
        o=orig(b); seen.append(o); return o
    protobuf.decode=dec
    cmds=["namespace n1","configmap x --from-literal=a=b","secret generic s --from-literal=a=b","secret tls t --cert=/dev/null --key=/dev/null",
     "secret docker-registry d --docker-server=x --docker-username=u --docker-password=p",
     "deployment d1 --image=nginx --replicas=3 --port=80","service clusterip s1 --tcp=80:8080","service nodeport s2 --tcp=80:8080 --node-port=30100",
     "service externalname s3 --external-name=x.y","service loadbalancer s4 --tcp=80","serviceaccount sa1","quota q --hard=cpu=1,pods=2","role r1 --verb=get,list --resource=pods,deployments.apps --resource-name=x",
     "clusterrole cr1 --verb=get --resource=nodes","clusterrole cr2 --verb=get --non-resource-url=/healthz","clusterrole cr3 --aggregation-rule=a=b","rolebinding rb --role=r1 --user=joe --serviceaccount=default:sa1","clusterrolebinding crb --clusterrole=cr1 --group=g",
     "job j1 --image=busybox -- echo hi","cronjob cj1 --image=busybox --schedule=*/5_*_*_*_*","pdb pd --selector=app=x --min-available=1","pdb pd2 --selector=app=x --max-unavailable=50%","priorityclass pc1 --value=1000 --description=x",
     "ingress i1 --rule=a.b/c*=s1:80,tls=sec --class=nginx"]
    for c in cmds:
        args=[a.replace("_"," ") for a in c.split()]
        if "--" in args:
            i=args.index("--"); dry=args[:i]+["--dry-run=client","-o","json"]+args[i:]
        else: dry=args+["--dry-run=client","-o","json"]
        want=json.loads(kubectl("create",*dry))
        del seen[:]
        try: out=kubectl("create",*args); ok=True
        except AssertionError as e: out=str(e).splitlines()[0]; ok=False
        got=seen[0] if seen else None
        def strip(o):
            if isinstance(o,dict): return {k:strip(v) for k,v in o.items() if v not in (None,{},[]) and k not in ("creationTimestamp","namespace")}
            if isinstance(o,list): return [strip(x) for x in o]
            return o
        same= got is not None and strip(got)==strip(want)
        print("OK" if ok and same else "BAD", c, out.strip()[:200], "" if same else (json.dumps(strip(got or {})), json.dumps(strip(want))))
    print(api.world.unknown)
    print(kubectl("auth","whoami"), kubectl("auth","can-i","--list"), kubectl("auth","can-i","get","pods"))
    print(kubectl("create","token","default","--duration=1h")[:20])
    dep="""apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx, ports: [{containerPort: 80}]}
"""
    print(kubectl("apply","-f","-",stdin=dep.replace("replicas: 2","replicass: 3"),fails=True))
    print(kubectl("cluster-info"))
    print(kubectl("get","--raw","/readyz?verbose"))
    print(kubectl("wait","--for=delete","deploy/web","--timeout=3s"))
    print(kubectl("run","tmp","--image=busybox","--restart=Never"))
    print(kubectl("get","pods"))
    print(kubectl("get","events"))
    print(kubectl("get","jobs,cronjobs,ing,pdb,secrets,quota,clusterrolebinding,sa"))
    api.make("/api/v1/nodes",{"metadata":{"name":"node1"}})
    api.run_pod("p1")
    print(kubectl("drain","node1","--force","--timeout=1s","--disable-eviction=false",fails=True))
    print(kubectl("top","node",fails=True))
    print(kubectl("attach","p1",fails=True))
    print(kubectl("port-forward","p1","8080",fails=True))
    print(kubectl("exec","-it","p1","--","ls"))
    print(kubectl("cp","/etc/hostname","p1:/x",fails=True) if 0 else "")
    print(kubectl("get","--raw","/api/v1/namespaces/default/pods/p1:8080/proxy/x/y?z=1"))
    print(kubectl("delete","pod","p1","--wait=false"))
    print(kubectl("get","pod","p1","-w","--request-timeout=2s",fails=True) if 0 else "")
    print(kubectl("delete","pod","p1","--force"))
    print(kubectl("edit","cm","x") if 0 else "")
    print(kubectl("delete","ns","n1","--wait=false"))
    print(kubectl("get","ns"))
    print(kubectl("label","cm","x","a=b"),kubectl("annotate","cm","x","c=d"))
    print(kubectl("replace","-f","-",stdin=kubectl("get","cm","x","-o","yaml")))
    print(kubectl("get","cm","x","-o","jsonpath={.data.a}"))
    print(kubectl("rollout","status","deploy/d1","--timeout=1s",fails=True))
    print(kubectl("rollout","history","deploy/d1"))
    print(kubectl("autoscale","deploy/d1","--max=3") if 0 else "")
    print(kubectl("api-versions"))
    print(api.world.unknown, api.world.writes)
