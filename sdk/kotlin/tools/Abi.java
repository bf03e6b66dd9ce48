import java.io.File;
import java.util.List;
import org.jetbrains.kotlin.abi.tools.AbiFilters;
import org.jetbrains.kotlin.abi.tools.AbiTools;

/** Prints the public binary interface of a jar. */
class Abi {
    public static void main(String[] arguments) {
        var text = new StringBuilder();
        AbiTools.Companion.getInstance(Abi.class.getClassLoader())
                .printJvmDump(text, List.of(new File(arguments[0])), AbiFilters.Companion.getEMPTY());
        System.out.print(text);
    }
}
