"""A Kubernetes API server and its controllers, on the world's time.

From the ground up:

  objects, kinds, errors              API objects as JSON; what a kind is; errors as Status objects
  schemas, patches, managed_fields    decoding and validation; patches; field ownership and server-side apply
  state                               the store with its versions and watches; writes
  controllers, containers             the control loop and events; what containers do
  resources/                          one file for each family of kinds: their definitions and their controllers
  production, charts, seed            the link to the world; Helm's releases; what there is at the start
  access, protobuf, call              accounts and RBAC; a request and its body
  shapes, operations                  lists, tables, discovery, OpenAPI; what each verb does
  backend                             the cluster: the registry of kinds, and their controllers
  api                                 HTTP
"""
