package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.model.LanguageModel;
import org.llmcore.op.Device;
import org.llmcore.tensor.Tensor;

/// A folder `step-00000120` from which a run continues bit for bit: `parameters.safetensors`, `optimizer.safetensors` and
/// `state.json`. It appears whole or not at all, so the newest folder there is always good.
///
/// Data order, dropout masks and learning rate are pure functions of seed and step: the step is all the state they have.
public record Checkpoint(Path folder, State state) {
  /// What a run knows beside its tensors.
  /// @param step optimizer steps done
  /// @param bestLoss lowest evaluation loss so far, infinite if none
  /// @param stale evaluations since then
  /// @param accuracyBefore the task's score before training, NaN if there is none; likewise `lossBefore`
  public record State(
      int step, long seed, double firstLoss, double bestLoss, int bestStep, int stale, double accuracyBefore, double lossBefore) {}

  private static final ObjectMapper JSON = new ObjectMapper();

  /// Writes the checkpoint of a step and deletes older ones but the newest `keep` and the best.
  public static void write(Path checkpoints, Device device, Tuning tuning, Optimizer optimizer, State state, int keep) {
    AtomicFile.folder(
        checkpoints.resolve("step-%08d".formatted(state.step)),
        temp -> {
          Safetensors.write(temp.resolve("parameters.safetensors"), LanguageModel.items(device, tuning.trained().map()));
          Safetensors.write(temp.resolve("optimizer.safetensors"), LanguageModel.items(device, optimizer.state()));
          Files.writeString(temp.resolve("state.json"), JSON.writerWithDefaultPrettyPrinter().writeValueAsString(state) + "\n");
        });
    var all = list(checkpoints);
    for (var c : all.subList(0, Math.max(0, all.size() - keep))) {
      if (c.state.step == state.bestStep) continue;
      try {
        AtomicFile.delete(c.folder);
      } catch (IOException e) {
        throw new InvalidInput("cannot delete the old checkpoint " + c.folder + ": " + e.getMessage(), "delete it by hand", e);
      }
    }
  }

  /// All checkpoints of a run, oldest first.
  public static List<Checkpoint> list(Path checkpoints) {
    if (!Files.isDirectory(checkpoints)) return List.of();
    try (Stream<Path> folders = Files.list(checkpoints)) {
      return folders.filter(f -> f.getFileName().toString().startsWith("step-")).sorted(Comparator.comparing(Path::getFileName)).map(Checkpoint::open).toList();
    } catch (IOException e) {
      throw new InvalidInput("cannot list " + checkpoints + ": " + e.getMessage(), "check its permissions", e);
    }
  }

  /// The newest checkpoint of a run.
  public static Optional<Checkpoint> newest(Path checkpoints) {
    var all = list(checkpoints);
    return all.isEmpty() ? Optional.empty() : Optional.of(all.getLast());
  }

  /// The checkpoint in a folder.
  /// @throws InvalidInput if its state cannot be read
  public static Checkpoint open(Path folder) {
    try {
      return new Checkpoint(folder, JSON.readValue(Files.readString(folder.resolve("state.json")), State.class));
    } catch (IOException e) {
      throw new InvalidInput(folder + " is no checkpoint of ours: " + e.getMessage(), "delete it to continue from the one before", e);
    }
  }

  /// Loads all tensors.
  public void restore(Device device, Tuning tuning, Optimizer optimizer) {
    load(device, "parameters.safetensors", tuning.trained().map());
    load(device, "optimizer.safetensors", optimizer.state());
  }

  /// Loads the parameters only.
  public void restore(Device device, Tuning tuning) {
    load(device, "parameters.safetensors", tuning.trained().map());
  }

  private void load(Device device, String file, Map<String, Tensor> tensors) {
    try (var in = Safetensors.open(folder.resolve(file))) {
      tensors.forEach(
          (name, t) -> {
            var e = in.get(name);
            if (e.data().byteSize() != t.bytes()) throw new InvalidInput(folder + " holds " + name + " as " + e.describe() + ", the recipe asks for " + t, "resume with the recipe of the run");
            device.upload(e.data(), t);
          });
    }
  }

  /// SHA-256 over names, shapes and bytes of tensors, in name order: the fingerprint of a result.
  public static String sha256(Device device, Map<String, Tensor> tensors) {
    try {
      var digest = MessageDigest.getInstance("SHA-256");
      LanguageModel.items(device, tensors).stream().sorted(Comparator.comparing(Safetensors.Item::name)).forEach(i -> {
        digest.update((i.name() + i.dtype() + java.util.Arrays.toString(i.shape())).getBytes(java.nio.charset.StandardCharsets.UTF_8));
        i.pieces().each(piece -> digest.update(piece.asByteBuffer()));
      });
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
