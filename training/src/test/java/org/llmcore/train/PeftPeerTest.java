package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Optional;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Every kind of LoRA beside PEFT on stories260K, where `-Dllm.peers=` names a Python that has it: the same losses over twelve
/// steps, and files that load both ways with the same logits.
class PeftPeerTest {
  private static final Path STORIES = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k");
  private static final String CONFIGS =
      """
      {"lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
       "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": true, "target_modules": "all-linear"},
       "dora": {"r": 4, "lora_alpha": 8, "use_dora": true, "target_modules": ["q_proj", "o_proj", "up_proj"]},
       "patterns": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"],
         "rank_pattern": {"down_proj": 6, "layers\\\\.[01]\\\\.self_attn\\\\.q_proj": 2},
             "alpha_pattern": {"^model.layers.3.mlp.down_proj": 24}},
       "blocks": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [0, 3],
           "layers_pattern": "layers"},
       "one": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": 1},
       "saved": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["embed_tokens", "lm_head",
           "norm"]},
       "embedding": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["embed_tokens"]},
       "mlp": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "modules_to_save": ["layers.2.mlp"]},
       "head": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "lm_head"]},
       "dorahead": {"r": 4, "lora_alpha": 8, "use_dora": true, "target_modules": ["q_proj", "lm_head"]},
       "excluded": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "exclude_modules": ["down_proj", "layers.2.self_attn"]},
       "python": {"r": 4, "lora_alpha": 8, "target_modules": "(?P<any_list>.*)\\\\.[qv]_proj\\\\Z", "exclude_modules": ".*\\\\.3\\\\..*",
           "bias": "all", "fan_in_fan_out": true}}
      """;

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 2);

  private JsonNode python(String command) throws IOException, InterruptedException {
    var python = System.getProperty("llm.peers");
    assumeTrue(python != null, "no Python of peers is named by -Dllm.peers");
    assumeTrue(Files.exists(STORIES), "skipped: " + STORIES + " is not here");
    var script = folder.resolve("peft_peer.py");
    Files.write(script, PeftPeerTest.class.getResourceAsStream("peft_peer.py").readAllBytes());
    var errors = folder.resolve("errors");
    var process = new ProcessBuilder(
        python, script.toString(), command, STORIES.resolve("hf").toString(),
            STORIES.resolve("train-dev/batch.safetensors").toString(),
        folder.toString(), CONFIGS).redirectError(errors.toFile()).start();
    var said = process.getInputStream().readAllBytes();
    assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
    return new ObjectMapper().readTree(said);
  }

  private LanguageModel base() {
    return LanguageModel.open(device, STORIES.resolve("hf"), Optional.of(STORIES.resolve("tok512.model")), Precision.F32, false);
  }

  private float[] logits(Decoder model) {
    var batch = PublishedValuesTest.batches(1).getFirst();
    try (var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = model.tokens(p, batch.ids(), batch.starts());
      return model.logits(p, model.hidden(p, tokens, new org.llmcore.model.Mixing.Within(tokens.starts()), false,
          new ArrayList<>())).toFloats();
    }
  }

  private static void close(String name, float[] found, JsonNode expected) {
    assertThat(found).as(name).hasSize(expected.size());
    double largest = 0;
    for (var e : expected) largest = Math.max(largest, Math.abs(e.asDouble()));
    for (int i = 0; i < found.length; i++) {
      assertThat((double) found[i]).as(name + ", logit " + i).isCloseTo(expected.get(i).asDouble(), offset(2e-4 * largest));
    }
  }

  @Test
  void lossesAreFollowedAndFilesLoadBothWays() throws IOException, InterruptedException {
    var theirs = python("train");
    var ours = new ArrayList<float[]>();
    for (var e : theirs.properties()) {
      var name = e.getKey();
      try (var model = base(); var training = device.growing("training"); var step = device.growing("step")) {
        close(name + " as PEFT trained it",
            logits(PeftAdapter.attach(device, model.decoder(), folder.resolve(name + "-trained"), training).decoder()),
                e.getValue().get("logits"));
        var lora = PeftAdapter.load(device, model.decoder(), folder.resolve(name + "-init"), training);
        assertThat(lora.parameters().elements()).as(name).isEqualTo(e.getValue().get("trained").asLong());
        var tuning = new Tuning(lora.decoder(), lora.parameters(), Optional.of(lora));
        var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 0));
        var trainer = new Trainer(device, tuning, optimizer, step, false, 0);
        var losses = e.getValue().get("losses");
        for (int i = 0; i < losses.size(); i++) {
          double loss = trainer.step(i + 1, PublishedValuesTest.batches(4), 5e-3).loss();
          assertThat(loss).as(name + ", step " + (i + 1)).isCloseTo(losses.get(i).asDouble(), offset(1e-3));
        }
        assertThat(losses.get(11).asDouble()).as(name).isLessThan(losses.get(0).asDouble() - 0.05);
        PeftAdapter.save(device, lora, folder.resolve(name + "-ours"));
        ours.add(logits(lora.decoder()));
        // PEFT orders target_modules as it likes; what they mean must come back.
        var config = PeftAdapter.load(device, model.decoder(), folder.resolve(name + "-ours"), training).config();
        assertThat(config).isEqualTo(lora.config());
      }
    }
    var read = python("read");
    int i = 0;
    for (var e : read.properties()) close(e.getKey() + " as PEFT reads it", ours.get(i++), e.getValue());
    assertThat(i).isEqualTo(theirs.size());
  }
}
