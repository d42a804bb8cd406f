/// From logits to text: samplers, and a generator that decodes any number of requests over one paged cache.
package org.llmcore.generate;
