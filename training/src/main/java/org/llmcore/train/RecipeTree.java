package org.llmcore.train;

import java.util.LinkedHashMap;
import java.util.Map;


/// A recipe as maps of words and numbers, in the order in which a person reads it.
final class RecipeTree {
  private RecipeTree() {}

  static Map<String, Object> of(Recipe recipe) {
    var tree = new LinkedHashMap<String, Object>();
    tree.put("model", model(recipe.model()));
    recipe.tokenizer().ifPresent(t -> tree.put("tokenizer", t.text()));
    tree.put("method", method(recipe.method()));
    tree.put("data", data(recipe.data()));
    tree.put("training", training(recipe.training()));
    var evaluation = new LinkedHashMap<String, Object>();
    evaluation.put("every", recipe.evaluation().every());
    evaluation.put("task", Section.word(recipe.evaluation().task()));
    evaluation.put("items", recipe.evaluation().items());
    recipe.evaluation().patience().ifPresent(p -> evaluation.put("patience", p));
    tree.put("evaluation", evaluation);
    var checkpoints = new LinkedHashMap<String, Object>(); // Map.of has no order
    checkpoints.put("every", recipe.checkpoints().every());
    checkpoints.put("keep", recipe.checkpoints().keep());
    tree.put("checkpoints", checkpoints);
    var output = new LinkedHashMap<String, Object>();
    output.put("folder", recipe.output().folder());
    recipe.output().name().ifPresent(n -> output.put("name", n));
    tree.put("output", output);
    return tree;
  }

  private static Map<String, Object> model(Recipe.Model model) {
    var tree = new LinkedHashMap<String, Object>();
    switch (model) {
      case Recipe.Pretrained(var source, var _) -> tree.put("path", source.text());
      case Recipe.Scratch(var a, var _) -> {
        tree.put("init", "scratch");
        var config = new LinkedHashMap<String, Object>();
        config.put("hidden", a.hidden());
        config.put("layers", a.layers());
        config.put("heads", a.heads());
        config.put("kvHeads", a.kvHeads());
        config.put("headDim", a.headDim());
        config.put("intermediate", a.intermediate());
        a.vocabulary().ifPresent(v -> config.put("vocabulary", v));
        config.put("contextLength", a.contextLength());
        config.put("normEps", a.normEps());
        config.put("ropeTheta", a.ropeTheta());
        config.put("tiedHead", a.tiedHead());
        tree.put("config", config);
      }
    }
    tree.put("precision", Section.word(model.precision()));
    return tree;
  }

  private static Map<String, Object> method(Recipe.Method method) {
    return switch (method) {
      case Recipe.Full() -> Map.of("type", "full");
      case Recipe.SoftPrompt(var virtualTokens, var init, var start) -> {
        var tree = new LinkedHashMap<String, Object>();
        tree.put("type", "prompt");
        tree.put("virtualTokens", virtualTokens);
        init.ifPresentOrElse(text -> tree.put("init", text), () -> tree.put("start", Section.word(start)));
        yield tree;
      }
      case Recipe.LowRank(
              var r, var alpha, var dropout, var targets, var rslora, var dora, var ranks, var alphas, var layers, var lists,
                  var saved) -> {
        var tree = new LinkedHashMap<String, Object>();
        tree.put("type", "lora");
        tree.put("r", r);
        tree.put("alpha", alpha);
        tree.put("dropout", dropout);
        tree.put(
            "targets",
            switch (targets) {
              case Recipe.AllLinear() -> "all-linear";
              case Recipe.Suffixes(var names) -> names;
              case Recipe.Matching(var pattern) -> pattern;
            });
        tree.put("rslora", rslora);
        tree.put("dora", dora);
        if (!ranks.isEmpty()) tree.put("rankPattern", ranks);
        if (!alphas.isEmpty()) tree.put("alphaPattern", alphas);
        if (!layers.isEmpty()) tree.put("layersToTransform", layers);
        if (!lists.isEmpty()) tree.put("layersPattern", lists);
        if (!saved.isEmpty()) tree.put("modulesToSave", saved);
        yield tree;
      }
    };
  }

  private static Map<String, Object> data(Recipe.Data data) {
    var tree = new LinkedHashMap<String, Object>();
    tree.put("path", data.source().text());
    tree.put("format", data.format().map(Section::word).orElse("auto"));
    tree.put("validation", data.validation());
    data.maxLength().ifPresent(m -> tree.put("maxLength", m));
    tree.put("pack", data.pack());
    tree.put("tooLong", Section.word(data.tooLong()));
    return tree;
  }

  private static Map<String, Object> training(Recipe.Training t) {
    var tree = new LinkedHashMap<String, Object>();
    tree.put("epochs", t.epochs());
    t.maxSteps().ifPresent(m -> tree.put("maxSteps", m));
    tree.put("batch", t.batch());
    tree.put("microBatch", t.microBatch());
    tree.put("learningRate", t.learningRate());
    tree.put("schedule", Section.word(t.schedule()));
    tree.put("warmupSteps", t.warmupSteps());
    tree.put("minLearningRate", t.minLearningRate());
    tree.put("weightDecay", t.weightDecay());
    tree.put("beta1", t.beta1());
    tree.put("beta2", t.beta2());
    tree.put("eps", t.eps());
    tree.put("clip", t.clip());
    tree.put("seed", t.seed());
    t.threads().ifPresent(n -> tree.put("threads", n));
    tree.put("checkpointing", t.checkpointing());
    return tree;
  }
}
