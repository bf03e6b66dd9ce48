package org.pockettune.android

import android.app.ActivityManager
import android.content.Context
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.PowerManager
import android.os.StatFs
import org.pockettune.DeviceState
import org.pockettune.Sensors
import org.pockettune.Thermal
import java.nio.file.Path

/**
 * The phone's sensors, read through the framework. What the phone does not tell is null, so that a condition that asks for
 * it fails: without `android.permission.ACCESS_NETWORK_STATE` the network is unknown.
 *
 * Reading takes some calls to other processes, well below a millisecond each; any thread may read.
 *
 * @param context any context of the app.
 * @param storage a folder on the disk that the store lies on; the app's own files by default.
 */
public class AndroidSensors
    @JvmOverloads
    constructor(
        context: Context,
        private val storage: Path = context.filesDir.toPath(),
    ) : Sensors {
        private val context = context.applicationContext

        /** What the phone says now; what it does not say is unknown. */
        override fun read(): DeviceState =
            DeviceState(
                charging = ask<BatteryManager, Boolean> { it.isCharging },
                batteryPercent = ask<BatteryManager, Int> { percentOf(it.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY)) },
                thermal = ask<PowerManager, Thermal>(::thermalOf),
                idle = ask<PowerManager, Boolean> { !it.isInteractive },
                unmetered = ask<ConnectivityManager, Boolean>(::unmeteredOf),
                powerSave = ask<PowerManager, Boolean> { it.isPowerSaveMode },
                freeStorageBytes = attempt { StatFs("$storage").availableBytes },
                availableMemoryBytes = ask<ActivityManager, Long>(::availableMemoryOf),
            )

        private inline fun <reified Service : Any, Value : Any> ask(read: (Service) -> Value?): Value? =
            attempt { context.getSystemService(Service::class.java)?.let(read) }

        // A missing permission and a dead system service both come as some RuntimeException, and both mean: unknown.
        private inline fun <Value : Any> attempt(read: () -> Value?): Value? =
            try {
                read()
            } catch (_: RuntimeException) {
                null
            }

        // A phone without that counter gives Integer.MIN_VALUE.
        private fun percentOf(property: Int): Int? = property.takeIf { it in 0..FULL_PERCENT }

        private fun thermalOf(manager: PowerManager): Thermal? =
            when (manager.currentThermalStatus) {
                PowerManager.THERMAL_STATUS_NONE -> Thermal.NOMINAL
                PowerManager.THERMAL_STATUS_LIGHT -> Thermal.LIGHT
                PowerManager.THERMAL_STATUS_MODERATE -> Thermal.MODERATE
                PowerManager.THERMAL_STATUS_SEVERE -> Thermal.SEVERE
                PowerManager.THERMAL_STATUS_CRITICAL -> Thermal.CRITICAL
                PowerManager.THERMAL_STATUS_EMERGENCY -> Thermal.EMERGENCY
                PowerManager.THERMAL_STATUS_SHUTDOWN -> Thermal.SHUTDOWN
                else -> null
            }

        private fun unmeteredOf(manager: ConnectivityManager): Boolean? {
            val network = manager.activeNetwork ?: return false // no network at all is known, and is not an unmetered one
            return manager.getNetworkCapabilities(network)?.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        }

        // Below the threshold Android begins to end processes, so what is under it is not there to be taken.
        private fun availableMemoryOf(manager: ActivityManager): Long {
            val info = ActivityManager.MemoryInfo()
            manager.getMemoryInfo(info)
            return if (info.lowMemory) 0 else (info.availMem - info.threshold).coerceAtLeast(0)
        }

        private companion object {
            const val FULL_PERCENT = 100
        }
    }
