"""Other gateways: what they can run of a policy, what is lost, and what a file of theirs says.

`export` maps a policy to what one single pass per request can say (`expressed`), with what is lost
(`losses`) and what that does to accuracy and dollars (`outcome`). `litellm` and
`vllm_semantic_router` say it in their neighbour's words and read it back.
"""
