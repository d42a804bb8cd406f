/// A decoder-only transformer from small blocks: linear layers, attention, gated MLP, blocks, the decoder. Everything is a
/// record or a final class composed of others; names of parameters are exactly the published ones. Read `Decoder` first.
package org.llmcore.model;
