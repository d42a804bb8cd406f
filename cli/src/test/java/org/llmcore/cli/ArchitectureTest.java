package org.llmcore.cli;

import java.util.Arrays;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

/// Who may import whom: `cli → training → models → core → JDK`, and nobody imports `cli` or the benchmarks.
class ArchitectureTest {
  private static final String[] CORE = {
    "org.llmcore", "org.llmcore.tensor..", "org.llmcore.op..", "org.llmcore.reference..", "org.llmcore.quant..", "org.llmcore.cpu..", "org.llmcore.host..", "org.llmcore.trace..", "org.llmcore.flags.."
  };
  private static final String[] MODELS = {
    "org.llmcore.model..", "org.llmcore.family..", "org.llmcore.peft..", "org.llmcore.checkpoint..", "org.llmcore.gguf..", "org.llmcore.convert..", "org.llmcore.text..", "org.llmcore.generate.."
  };
  private static final String[] TRAINING = {"org.llmcore.train..", "org.llmcore.data..", "org.llmcore.eval..", "org.llmcore.quantize.."};

  private final JavaClasses house = new ClassFileImporter().withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS).importPackages("org.llmcore");

  private static String[] with(String[]... packages) {
    return Arrays.stream(packages).flatMap(Arrays::stream).toArray(String[]::new);
  }

  private static DescribedPredicate<JavaClass> in(String... packages) {
    return JavaClass.Predicates.resideInAnyPackage(packages);
  }

  private static DescribedPredicate<JavaClass> ofTheHouse() {
    return in("org.llmcore..");
  }

  @Test
  void theClassesOfEveryRoomAreRead() {
    for (String[] room : new String[][] {CORE, MODELS, TRAINING, {"org.llmcore.cli.."}}) {
      assertThat(house.stream().filter(in(room)).count()).as(String.join(" ", room)).isGreaterThan(5);
    }
  }

  @Test
  void everyPackageBelongsToARoom() {
    classes().should().resideInAnyPackage(with(CORE, MODELS, TRAINING, new String[] {"org.llmcore.cli..", "org.llmcore.cuda..", "org.llmcore.bench.."})).check(house);
  }

  @Test
  void coreImportsNothingButTheJdk() {
    classes().that(in(CORE)).should().onlyDependOnClassesThat(in(with(CORE, new String[] {"java..", "javax..", "jdk.."})).or(DescribedPredicate.describe("are primitives or arrays", c -> c.getPackageName().isEmpty()))).check(house);
  }

  @Test
  void theCudaDeviceImportsCoreOnlyAndOnlyBenchmarksImportIt() {
    noClasses().that(in("org.llmcore.cuda..")).should().dependOnClassesThat(ofTheHouse().and(DescribedPredicate.not(in(with(CORE, new String[] {"org.llmcore.cuda.."}))))).check(house);
    noClasses().that(DescribedPredicate.not(in("org.llmcore.cuda..", "org.llmcore.bench.."))).should().dependOnClassesThat(in("org.llmcore.cuda..")).check(house);
  }

  @Test
  void modelsImportCoreOnly() {
    noClasses().that(in(MODELS)).should().dependOnClassesThat(ofTheHouse().and(DescribedPredicate.not(in(with(CORE, MODELS))))).check(house);
  }

  @Test
  void trainingImportsModelsAndCoreOnly() {
    noClasses().that(in(TRAINING)).should().dependOnClassesThat(ofTheHouse().and(DescribedPredicate.not(in(with(CORE, MODELS, TRAINING))))).check(house);
  }

  @Test
  void nobodyImportsTheCommandLineOrTheBenchmarks() {
    noClasses().that(DescribedPredicate.not(in("org.llmcore.cli.."))).should().dependOnClassesThat(in("org.llmcore.cli..")).check(house);
    noClasses().that(DescribedPredicate.not(in("org.llmcore.bench.."))).should().dependOnClassesThat(in("org.llmcore.bench..")).check(house);
  }

  @Test
  void theLauncherStandsAlone() {
    noClasses()
        .that().haveSimpleName("Launcher").or().haveSimpleName("JavaHomes").or().haveSimpleName("Announcement")
        .should().dependOnClassesThat(ofTheHouse().and(DescribedPredicate.describe("are compiled for Java 25", c -> !c.getSimpleName().matches("Launcher|JavaHomes|Announcement|"))))
        .check(house);
  }
}
